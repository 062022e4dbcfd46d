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
from service.model.artefact import read_description
from tests.benchmarks import client, environments, processes
from tests.benchmarks.environments import BENCHMARKS, PEERS, BenchmarkError
from tests.conftest import ROOT, free_port

OURS = ""  # stands for the peer's name
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
    """`start_seconds`: from the start of the process to its first prediction."""

    pid: int
    port: int
    start_seconds: float


def of(model: Path) -> list[Server]:
    """All servers for this model. Those of int8 only if the model has that variant."""
    variants = [variant for variant in (INT8, FP32) if variant in read_description(model).variants]
    best = variants[0]
    return [
        *(Server(name=f"MedXfer, {variant}", peer=OURS, variant=variant) for variant in variants),
        Server(name="the original's stack: FastAPI, PyTorch eager", peer="original", variant=FP32),
        Server(name="FastAPI, ONNX Runtime, fp32", peer="fastapi_onnxruntime", variant=FP32),
        Server(name=f"LitServe, ONNX Runtime, {best}", peer="litserve", variant=best),
        Server(name=f"BentoML, ONNX Runtime, {best}", peer="bentoml", variant=best),
        *(Server(name=f"FastAPI, OpenVINO, {each}", peer="fastapi_openvino", variant=each) for each in reversed(variants)),
    ]


def configuration(peer: str) -> str:
    """The docstring of the peer's server.py."""
    return ast.get_docstring(ast.parse((PEERS / peer / "server.py").read_text())) or ""


def work_folder(model: Path) -> Path:
    """Where `conversion` writes the peers' files."""
    return BENCHMARKS / "converted" / model.name


@contextmanager
def running(server: Server, model: Path, first: Path) -> Iterator[Running]:
    """Runs it on a free port and all CPUs until the block ends. Raises BenchmarkError if it does not answer `first`."""
    port = free_port()
    log = BENCHMARKS / "logs" / f"{model.name} {server.name.replace(':', '')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    ours = {"MODEL": str(model), "PORT": str(port), "VARIANT": server.variant}
    theirs = {**ours, "CPUS": str(machine.available_cpus()), "WORK": str(work_folder(model))}
    if server.peer == OURS:
        python = sys.executable if server.checkout == ROOT else str(server.checkout / ".venv" / "bin" / "python")
        command, folder, prefix, settings = [python, "-m", "service"], server.checkout, "MEDXFER", ours
    else:
        command = [str(environments.python(server.peer)), "server.py"]
        folder, prefix, settings = PEERS / server.peer, "PEER", theirs
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"} | {f"{prefix}_{key}": value for key, value in settings.items()}
    with log.open("wb") as output:
        begin = time.monotonic()
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT)
        try:
            _wait(process, port, first, log)
            yield Running(process.pid, port, time.monotonic() - begin)
        finally:
            processes.stop(process)


def _wait(process: "subprocess.Popen[bytes]", port: int, first: Path, log: Path) -> None:
    end, reason = time.monotonic() + START_SECONDS, ""
    while time.monotonic() < end:
        if process.poll() is not None:
            raise BenchmarkError(f"the server ended with {process.returncode}; {log} has the reason")
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=START_SECONDS)
        try:
            client.ask(connection, PATH, first)
            return
        except (OSError, http.client.HTTPException, BenchmarkError) as error:
            reason = str(error)
            time.sleep(POLL_SECONDS)
        finally:
            connection.close()
    raise BenchmarkError(f"the server was not ready after {START_SECONDS} s ({reason}); {log} may have the reason")
