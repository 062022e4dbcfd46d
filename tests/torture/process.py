"""The real service as a process of its own: start it, watch it, end it."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.conftest import DEFAULT_MODEL, ROOT, free_port, wait_until_ready
from tests.torture import wire

COMMAND = (sys.executable, "-m", "service")
STOP_SECONDS = 40.0
DEFAULTS: dict[str, object] = {}  # of the settings; `python -m tests.torture --processes 2` adds one


class Service(NamedTuple):
    port: int
    process: "subprocess.Popen[bytes]"
    log: Path  # the file that receives the service's stderr
    processes: int = 1

    def is_healthy(self) -> bool:
        with contextlib.suppress(OSError):
            return self.process.poll() is None and wire.exchange(self.port, wire.get("/health/live")).status == 200
        return False

    def requests(self) -> list[dict[str, Any]]:  # Any: JSON
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and '"message":"request"' in line]

    def errors(self) -> list[str]:
        signs = '"level":"ERROR"', '"level":"CRITICAL"', "Traceback"
        return [line for line in self.log.read_text(errors="replace").splitlines() if any(sign in line for sign in signs)]

    def servers(self) -> list[psutil.Process]:
        """The processes that serve: this one, or those that it supervises."""
        process = psutil.Process(self.process.pid)
        return [process] if self.processes == 1 else process.children()

    def descriptors(self) -> int:
        return sum(server.num_fds() for server in self.servers())

    def threads(self) -> int:
        return sum(server.num_threads() for server in self.servers())

    def rss_mb(self) -> float:
        return sum(server.memory_info().rss for server in self.servers()) / 1e6


@contextlib.contextmanager
def serving(
    *, command: tuple[str, ...] = COMMAND, wait: bool = True, stderr: int | None = None, **settings: object
) -> Iterator[Service]:
    """Runs the service, ready when the block begins, killed after it. `settings`: MEDXFER_ settings in lower case."""
    settings = {"model": DEFAULT_MODEL, "port": free_port()} | DEFAULTS | settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDXFER_")}
    environment |= {f"MEDXFER_{name.upper()}": str(value) for name, value in settings.items()}
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "log").open("wb") as log:
        output = log if stderr is None else stderr
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stderr=output) as process:
            try:
                processes = int(str(settings.get("processes", 1)))
                service = Service(int(str(settings["port"])), process, Path(log.name), processes)
                if wait:
                    wait_until_ready(f"http://{wire.HOST}:{service.port}", process)
                yield service
            finally:
                process.kill()
