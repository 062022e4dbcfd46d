"""The clients of all servers: wrk for load (one thread, HTTP/1.1, keep-alive), and http.client for a single request."""

import contextlib
import http.client
import json
import resource
import subprocess
from pathlib import Path
from typing import Any

import httpx
import msgspec

from tests.conftest import ROOT

BENCHMARKS = ROOT / ".benchmarks"  # everything that a run creates and can use again; not in git
PATH = "/predict"
SCRIPT = Path(__file__).with_name("post.lua")
FORM = "multipart/form-data; boundary=medxfer-benchmark"
TIMEOUT_SECONDS = 60


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """`cpu_share`: CPU time of the client, as a share of one CPU."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_share: float


def request(name: str, image: bytes, content_type: str) -> Path:
    form = httpx.Request("POST", PATH, headers={"Content-Type": FORM}, files={"image": (name, image, content_type)})
    path = BENCHMARKS / "requests" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(form.read())
    return path


def load(port: int, request: Path, *, connections: int, seconds: float) -> Load:
    """Raises RuntimeError if a request fails or gets an error, and OSError if wrk is not installed."""
    before = _client_cpu_seconds()
    options = f"--threads 1 --connections {connections} --duration {max(1, round(seconds))}s --timeout 30s".split()
    command = ["wrk", *options, "--script", str(SCRIPT), f"http://127.0.0.1:{port}{PATH}", "--", str(request), FORM]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"wrk failed: {done.stderr or done.stdout}")
    figures = json.loads(done.stdout.splitlines()[-1])
    if not figures["requests"] or figures.pop("refused") or figures.pop("broken"):
        raise RuntimeError(f"{request.name}, {connections} connections: not all requests succeeded: {done.stdout}")
    return Load(**figures, cpu_share=(_client_cpu_seconds() - before) / figures["seconds"])


def connected(port: int) -> contextlib.closing[http.client.HTTPConnection]:
    return contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS))


def ask(connection: http.client.HTTPConnection, request: Path) -> Any:  # Any: each server's own JSON
    connection.request("POST", PATH, request.read_bytes(), {"Content-Type": FORM})
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != http.HTTPStatus.OK:
        raise RuntimeError(f"{request.name} was answered by {answer.status}: {content[:300]!r}")
    return json.loads(content)


def _client_cpu_seconds() -> float:
    """CPU time of all children that have ended. Between two calls, wrk is the only one."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
