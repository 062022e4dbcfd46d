"""The real service as a process of its own: start it, watch it through /proc, end it."""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tests.conftest import DEFAULT_MODEL, ROOT, free_port, wait_until_ready
from tests.torture import wire

COMMAND = (sys.executable, "-m", "service")
STOP_SECONDS = 40.0


class Service:
    """`log`: the file that receives the service's stderr."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.port, self.process, self.log = port, process, log

    def is_healthy(self) -> bool:
        with contextlib.suppress(OSError):
            return self.process.poll() is None and wire.exchange(self.port, wire.get("/health/live")).status == 200
        return False

    def requests(self) -> list[dict[str, Any]]:  # Any: JSON
        """The log's entries about requests."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and '"message":"request"' in line]

    def errors(self) -> list[str]:
        """The log's lines about errors."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if '"level":"ERROR"' in line or '"level":"CRITICAL"' in line or "Traceback" in line]

    def rss_mb(self) -> float:
        return int(self._status("VmRSS")) * 1024 / 1e6

    def threads(self) -> int:
        return int(self._status("Threads"))

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def _status(self, name: str) -> str:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


@contextlib.contextmanager
def serving(*, command: tuple[str, ...] = COMMAND, **settings: object) -> Iterator[Service]:
    """Runs the service, ready when the block begins, killed after it. `settings`: MEDXFER_ settings in lower case."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("wb") as stderr, started(free_port(), stderr, command, wait=True, **settings) as service:
            service.log = log
            yield service


@contextlib.contextmanager
def started(
    port: int, stderr: IO[bytes] | int, command: tuple[str, ...] = COMMAND, *, wait: bool = True, **settings: object
) -> Iterator[Service]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDXFER_")}
    environment |= {"MEDXFER_MODEL": str(DEFAULT_MODEL), "MEDXFER_PORT": str(port)}
    environment |= {f"MEDXFER_{name.upper()}": str(value) for name, value in settings.items()}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stderr=stderr) as process:
        try:
            if wait:
                wait_until_ready(f"http://{wire.HOST}:{port}", process)
            yield Service(port, process, Path(os.devnull))
        finally:
            process.kill()
