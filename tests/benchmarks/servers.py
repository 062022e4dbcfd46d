"""The servers of a benchmark: ours in each variant, and the peers (peers/), each configured as its documentation advises."""

import ast
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from service import machine
from service.model.artefact import read_folder
from tests.benchmarks import client, environments, processes
from tests.benchmarks.client import Request
from tests.benchmarks.environments import BENCHMARKS, PEERS, BenchmarkError
from tests.conftest import ROOT, free_port

OURS = ""  # the peer's name, for our own
PATH = "/predict"
START_SECONDS, POLL_SECONDS = 120, 0.02
FP32, INT8 = "fp32", "int8"


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """`peer`: its folder in peers/. `variant`: the weights that it computes with. `checkout`: our own service runs there."""

    name: str
    peer: str
    variant: str
    checkout: Path = ROOT


class Running(NamedTuple):
    """`start_seconds`: from the process's start to its first answer to a request for a prediction."""

    pid: int
    port: int
    start_seconds: float


def of(model: Path) -> list[Server]:
    """Those that can be asked for this model's answers; int8 where the model has it."""
    variants = [variant for variant in (INT8, FP32) if variant in read_folder(model).description.variants]
    best = variants[0]
    return [
        *(Server(name=f"MedXfer, {variant}", peer=OURS, variant=variant) for variant in variants),
        Server(name="the original's stack: FastAPI, PyTorch eager", peer="original", variant=FP32),
        Server(name="FastAPI, ONNX Runtime, fp32", peer="fastapi_onnxruntime", variant=FP32),
        Server(name=f"LitServe, ONNX Runtime, {best}", peer="litserve", variant=best),
        Server(name=f"BentoML, ONNX Runtime, {best}", peer="bentoml", variant=best),
        Server(name="FastAPI, OpenVINO, fp32", peer="fastapi_openvino", variant=FP32),
        Server(name="FastAPI, OpenVINO, int8", peer="fastapi_openvino", variant=INT8),
    ]


def configuration(peer: str) -> str:
    """What the peer's own file says of it."""
    return ast.get_docstring(ast.parse((PEERS / peer / "server.py").read_text())) or ""


def cpus() -> int:
    return machine.available_cpus()


def work_folder(model: Path) -> Path:
    """What `conversion` wrote for the peers."""
    return BENCHMARKS / "converted" / model.name


@contextmanager
def running(server: Server, model: Path, first: Request) -> Iterator[Running]:
    """On a port of its own, on all CPUs, until the block ends. Raises BenchmarkError: it does not answer `first`."""
    port = free_port()
    log = BENCHMARKS / "logs" / f"{model.name} {server.name.replace(':', '')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        begin = time.monotonic()
        process = subprocess.Popen(
            _command(server),
            cwd=PEERS / server.peer if server.peer else server.checkout,
            env=_environment(server, model, port),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(process, port, first, log)
            yield Running(process.pid, port, time.monotonic() - begin)
        finally:
            processes.stop(process)


def _command(server: Server) -> list[str]:
    if server.peer == OURS:
        python = sys.executable if server.checkout == ROOT else str(server.checkout / ".venv" / "bin" / "python")
        return [python, "-m", "service"]
    return [str(environments.python(server.peer)), "server.py"]


def _environment(server: Server, model: Path, port: int) -> dict[str, str]:
    ours = {"MODEL": str(model), "PORT": str(port), "VARIANT": server.variant}
    theirs = {**ours, "CPUS": str(cpus()), "WORK": str(work_folder(model))}
    prefix, settings = ("MEDXFER", ours) if server.peer == OURS else ("PEER", theirs)
    return {**os.environ, "ORT_DISABLE_TELEMETRY": "1"} | {f"{prefix}_{name}": value for name, value in settings.items()}


def _wait(process: "subprocess.Popen[bytes]", port: int, first: Request, log: Path) -> None:
    end, reason = time.monotonic() + START_SECONDS, ""
    while time.monotonic() < end:
        if process.poll() is not None:
            raise BenchmarkError(f"the server ended with {process.returncode}; {log} has the reason")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            client.ask(connection, PATH, first)
        except (OSError, http.client.HTTPException, BenchmarkError) as error:
            reason = str(error)
            time.sleep(POLL_SECONDS)
        else:
            return
        finally:
            connection.close()
    raise BenchmarkError(f"the server was not ready after {START_SECONDS} s ({reason}); {log} may say why")
