"""The real service as a process of our own: started, watched through /proc, ended."""

import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from tests.conftest import DEFAULT_MODEL, ROOT, free_port
from tests.torture import wire

COMMAND = (sys.executable, "-m", "service")
START_SECONDS = 30.0
STOP_SECONDS = 40.0
MEGABYTE = 1e6


class Service:
    """`log`: the file that its stderr goes to."""

    def __init__(self, port: int, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.port, self.process, self.log = port, process, log

    def wait_until_ready(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"the service ended with {self.process.returncode}: {self.log.read_text()[-500:]}")
            if status_of(self.port, "/health/ready") == 200:
                return
            time.sleep(0.01)
        raise TimeoutError(f"the service was not ready after {START_SECONDS} s")

    def is_healthy(self) -> bool:
        return self.process.poll() is None and status_of(self.port, "/health/live") == 200

    def requests(self) -> list[dict[str, Any]]:  # Any: JSON
        """The lines of its log that tell of a request."""
        found = []
        for line in self.log.read_text(errors="replace").splitlines():
            with contextlib.suppress(json.JSONDecodeError):
                record = json.loads(line)
                if isinstance(record, dict) and record.get("message") == "request":
                    found.append(record)
        return found

    def errors(self) -> list[str]:
        """The lines of its log that tell of what should not have happened."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if '"level":"ERROR"' in line or '"level":"CRITICAL"' in line or "Traceback" in line]

    def metric(self, pattern: str) -> float:
        """The sum of all samples of /metrics whose name matches the whole pattern."""
        lines = wire.exchange(self.port, wire.get("/metrics")).body.decode().splitlines()
        samples = [line.rpartition(" ") for line in lines if not line.startswith("#")]
        values = [float(value) for name, _, value in samples if re.fullmatch(pattern, name.partition("{")[0])]
        if not values:
            raise LookupError(f"/metrics has no sample named {pattern}")
        return sum(values)

    def rss_mb(self) -> float:
        return int(self._status("VmRSS")) * 1024 / MEGABYTE

    def threads(self) -> int:
        return int(self._status("Threads"))

    def descriptors(self) -> int:
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def _status(self, name: str) -> str:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(line.split()[1] for line in lines if line.startswith(f"{name}:"))


@contextlib.contextmanager
def serving(*, wait: bool = True, command: tuple[str, ...] = COMMAND, **settings: object) -> Iterator[Service]:
    """`settings`: MEDXFER_ ones, in lower case. Ready when the block begins, unless told not to wait; killed after it."""
    port = free_port()
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log"
        with log.open("wb") as file, start(port, file, command, settings) as process:
            try:
                service = Service(port, process, log)
                if wait:
                    service.wait_until_ready()
                yield service
            finally:
                process.kill()


def start(
    port: int, log: IO[bytes] | int, command: tuple[str, ...] = COMMAND, settings: dict[str, object] | None = None
) -> "subprocess.Popen[bytes]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MEDXFER_")}
    environment |= {"MEDXFER_MODEL": str(DEFAULT_MODEL), "MEDXFER_PORT": str(port)}
    environment |= {f"MEDXFER_{name.upper()}": str(value) for name, value in (settings or {}).items()}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, stderr=log)


def status_of(port: int, path: str) -> int:
    """0 where nobody answers."""
    try:
        return wire.exchange(port, wire.get(path), seconds=5).status
    except OSError:
        return wire.NO_ANSWER
