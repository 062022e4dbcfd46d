"""The servers of a benchmark: ours in each variant, and the peers (peers/), each with its advised settings in its own venv."""

import hashlib
import http.client
import os
import shutil
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from service import machine
from tests.benchmarks import client, processes
from tests.benchmarks.client import BENCHMARKS
from tests.conftest import ROOT, free_port

OURS = ""  # stands for the peer's name
PEERS = Path(__file__).parent / "peers"
START_SECONDS, POLL_SECONDS = 120, 0.02
FP32, INT8 = "fp32", "int8"


class Server(NamedTuple):
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


SERVERS = [
    Server("MedXfer, int8", OURS, INT8),
    Server("MedXfer, fp32", OURS, FP32),
    Server("the original's stack: FastAPI, PyTorch eager", "original", FP32),
    Server("FastAPI, ONNX Runtime, fp32", "fastapi_onnxruntime", FP32),
    Server("LitServe, ONNX Runtime, int8", "litserve", INT8),
    Server("BentoML, ONNX Runtime, int8", "bentoml", INT8),
    Server("FastAPI, OpenVINO, fp32", "fastapi_openvino", FP32),
    Server("FastAPI, OpenVINO, int8", "fastapi_openvino", INT8),
]


def work_folder(model: Path) -> Path:
    return BENCHMARKS / "converted" / model.name


def python(peer: str) -> Path:
    """The interpreter of the peer's environment. Raises CalledProcessError if pip cannot install its packages."""
    requirements, folder = PEERS / peer / "requirements.txt", BENCHMARKS / "environments" / peer

    def install() -> None:
        venv.create(folder, with_pip=True, symlinks=True)
        # pip, not uv, as in the Makefile: without access to PyTorch's index, pip may find torch where it is configured to.
        options = ["--quiet", "--disable-pip-version-check", "--retries", "1", "-r", str(requirements)]
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", *options], check=True)

    make_once(folder, requirements.read_bytes() + sys.version.encode(), install)
    return folder / "bin" / "python"


def make_once(folder: Path, sources: bytes, make: Callable[[], object]) -> None:
    """Calls `make`, which writes the folder, unless it has written it before from the same sources."""
    digest, made_of = hashlib.sha256(sources).hexdigest(), folder / "made_of"
    if not made_of.exists() or made_of.read_text() != digest:
        print(f"writing {folder} …", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        make()
        made_of.write_text(digest)


@contextmanager
def running(server: Server, model: Path, first: Path, **ours: object) -> Iterator[Running]:
    """Runs it on a free port and all CPUs until the block ends. `ours`: further settings of our service, in lower case. Raises
    RuntimeError if it does not answer `first`."""
    port = free_port()
    log = BENCHMARKS / "logs" / f"{model.name} {server.name.replace(':', '')}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    settings = {"MODEL": str(model), "PORT": str(port), "VARIANT": server.variant}
    if server.peer == OURS:
        interpreter = sys.executable if server.checkout == ROOT else str(server.checkout / ".venv" / "bin" / "python")
        command, folder, prefix = [interpreter, "-m", "service"], server.checkout, "MEDXFER"
    else:
        command, folder, prefix = [str(python(server.peer)), "server.py"], PEERS / server.peer, "PEER"
        settings |= {"CPUS": str(machine.available_cpus()), "WORK": str(work_folder(model))}
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1", "PYTHONPATH": str(server.checkout)}
    settings |= {name.upper(): str(value) for name, value in ours.items()}
    environment |= {f"{prefix}_{key}": value for key, value in settings.items()}
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
            raise RuntimeError(f"the server ended with {process.returncode}; {log} has the reason")
        with client.connected(port) as connection:
            try:
                client.ask(connection, first)
                return
            except (OSError, http.client.HTTPException, RuntimeError) as error:
                reason = str(error)
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"the server was not ready after {START_SECONDS} s ({reason}); {log} may have the reason")
