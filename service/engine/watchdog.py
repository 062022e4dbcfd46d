"""Ends a process that is stuck, so that its supervisor starts another: Docker, for one, never restarts what is only unhealthy.

A thread cannot be killed in Python, nor a run of ONNX Runtime that never ends.
"""

import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable, Mapping

STUCK = 70  # the exit code: EX_SOFTWARE

logger = logging.getLogger(__name__)


class Watchdog:
    """Looks once a second. `progress`: by name, a number that changes as work goes on, 0 where there is none.

    It counts its own looks rather than time, so that a process that was stopped (SIGSTOP) is not taken for stuck.
    """

    def __init__(self, progress: Callable[[], Mapping[str, int]], seconds: int) -> None:
        self._progress = progress
        self._seconds = seconds
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        before: Mapping[str, int] = {}
        looks: dict[str, int] = {}
        while not self._ended.wait(1):
            now = self._progress()
            looks = {name: looks.get(name, 0) + 1 if count and count == before.get(name) else 0 for name, count in now.items()}
            before = now
            for name, count in looks.items():
                if count >= self._seconds:
                    self._end(name)

    def _end(self, name: str) -> None:
        threading.Thread(target=self._tell, args=(name,), daemon=True).start()  # which may be stuck, too
        self._ended.wait(1)
        os._exit(STUCK)

    def _tell(self, name: str) -> None:
        logger.critical("stuck", extra={"what": name, "seconds": self._seconds})
        faulthandler.dump_traceback(sys.stderr)
