"""The client of all servers: wrk, one thread, HTTP/1.1, connections kept open. And one request by Python, to see an answer."""

import http.client
import json
import resource
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec

from tests.benchmarks.environments import BENCHMARKS, BenchmarkError

SCRIPT = Path(__file__).with_name("post.lua")
BOUNDARY = "medxfer-benchmark"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A form as `curl -F image=@FILE` sends it. `body`: a file that holds it."""

    name: str
    body: Path


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """`cpu_share`: of one CPU, that the client itself took."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_share: float


def request(name: str, image: bytes, content_type: str) -> Request:
    lines = (
        f"--{BOUNDARY}",
        f'Content-Disposition: form-data; name="image"; filename="{name}"',
        f"Content-Type: {content_type}",
        "",
        "",
    )
    path = BENCHMARKS / "requests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("\r\n".join(lines).encode() + image + f"\r\n--{BOUNDARY}--\r\n".encode())
    return Request(name=name, body=path)


def load(port: int, path: str, request: Request, *, connections: int, seconds: float) -> Load:
    """Raises BenchmarkError: wrk is not there, or an answer was an error or did not come."""
    before = _client_cpu_seconds()
    command = [_wrk(), "--threads", "1", "--connections", str(connections), "--duration", f"{max(1, round(seconds))}s"]
    command += ["--timeout", "30s", "--script", str(SCRIPT), f"http://127.0.0.1:{port}{path}", "--", str(request.body), FORM]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchmarkError(f"wrk failed: {done.stderr or done.stdout}")
    figures = json.loads(done.stdout.splitlines()[-1])
    if not figures["requests"] or figures["refused"] or figures["broken"]:
        raise BenchmarkError(f"{request.name}, {connections} connections: not all requests were answered: {figures}")
    return Load(
        requests=figures["requests"],
        seconds=figures["seconds"],
        p50_ms=figures["p50_ms"],
        p99_ms=figures["p99_ms"],
        cpu_share=(_client_cpu_seconds() - before) / figures["seconds"],
    )


def ask(connection: http.client.HTTPConnection, path: str, request: Request) -> Any:  # Any: each server's own JSON
    """Raises BenchmarkError: another status than 200."""
    connection.request("POST", path, request.body.read_bytes(), {"Content-Type": FORM})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != http.HTTPStatus.OK:
        raise BenchmarkError(f"{request.name} was answered by {answer.status}: {content[:300]!r}")
    return json.loads(content)


def version() -> str:
    """Raises BenchmarkError, as `load` does. (wrk prints its version with its usage, and exits by 1.)"""
    return subprocess.run([_wrk(), "--version"], capture_output=True, text=True, check=False).stdout.split()[1]


def _wrk() -> str:
    if path := shutil.which("wrk"):
        return path
    raise BenchmarkError("wrk is not installed: `apt-get install wrk`, `brew install wrk`, or https://github.com/wg/wrk")


def _client_cpu_seconds() -> float:
    """Of all children that have ended: between two calls, none does but wrk."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
