"""Ends the process if a lane or the event loop makes no progress, so that its supervisor starts another.
Python cannot kill a thread, ONNX Runtime cannot end a run, and Docker never restarts a container for being unhealthy. Where a
thread holds the interpreter's lock, this one stops too, and the sentinel ends the process."""

import asyncio
import contextlib
import faulthandler
import logging
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

from service.engine import sentinel

STUCK = 70  # the exit code, EX_SOFTWARE
BEAT_SECONDS = 0.5  # more often than the watchdog looks

logger = logging.getLogger(__name__)


class Watchdog:
    """Looks once a second at `progress`: by name, a number that changes as work goes on and is 0 while there is none. It counts
    its own looks instead of reading a clock, so that a process that was stopped (SIGSTOP) does not count as stuck."""

    def __init__(self, progress: Callable[[], Mapping[str, int]], seconds: int) -> None:
        self._progress = progress
        self._seconds = seconds
        self._sentinel: subprocess.Popen[bytes] | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        try:
            self._sentinel = sentinel.start(self._seconds)
        except OSError as error:
            logger.warning("no sentinel", extra={"error": repr(error)})
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()
        if self._sentinel:
            self._sentinel.communicate()

    def _watch(self) -> None:
        before: Mapping[str, int] = {}
        looks: dict[str, int] = {}
        while not self._ended.wait(1):
            self._tell_sentinel()
            now = self._progress()
            looks = {name: looks.get(name, 0) + 1 if count and count == before.get(name) else 0 for name, count in now.items()}
            before = now
            if stuck := [name for name, count in looks.items() if count >= self._seconds]:
                threading.Thread(target=self._log, args=stuck[:1], daemon=True).start()  # in a thread: logging may be stuck too
                self._ended.wait(1)
                os._exit(STUCK)

    def _tell_sentinel(self) -> None:
        with contextlib.suppress(OSError):  # it was killed
            if self._sentinel and self._sentinel.stdin:
                os.write(self._sentinel.stdin.fileno(), b".")

    def _log(self, name: str) -> None:
        logger.critical("stuck", extra={"what": name, "seconds": self._seconds})
        faulthandler.dump_traceback(sys.stderr)


@asynccontextmanager
async def watched(progress: Callable[[], Mapping[str, int]], seconds: int) -> AsyncIterator[None]:
    """Watches `progress`, and the event loop that runs this."""
    beats = 1

    async def beat() -> None:
        nonlocal beats
        while True:
            beats += 1
            await asyncio.sleep(BEAT_SECONDS)

    beating = asyncio.create_task(beat())
    watchdog = Watchdog(lambda: {"event loop": beats, **progress()}, seconds)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.stop()
        beating.cancel()
