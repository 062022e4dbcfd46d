"""Runs the service in several processes that share its port, and replaces those that end.

They are forked once the model is loaded, so they share its memory, and a new one is ready at once. The kernel spreads
connections over their sockets (SO_REUSEPORT). This process keeps all sockets open too, so that a client that connects to a
process that has just died waits for its successor."""

import contextlib
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

logger = logging.getLogger(__name__)

BACKLOG = 2_048  # connections that wait to be accepted, as uvicorn's
STOP = {signal.SIGTERM, signal.SIGINT}
LEAST_SECONDS = 1.0  # from one start of a process to its next: one that always fails must not keep a CPU busy


def listen(host: str, port: int, count: int) -> list[socket.socket]:
    """A socket for each process, on the first address of `host`. Raises OSError if another program listens there."""
    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    with socket.create_server(address[:2], family=family):
        pass  # with SO_REUSEPORT, a second service would listen without an error, and get half of the requests
    if sys.platform != "linux":  # elsewhere SO_REUSEPORT spreads nothing
        return [socket.create_server(address[:2], family=family, backlog=BACKLOG)] * count
    return [socket.create_server(address[:2], family=family, backlog=BACKLOG, reuse_port=True) for _ in range(count)]


class Supervisor:
    """`serve(slot, listening, parent)` runs in each process and returns its exit code. It should end when `parent`, a
    descriptor, can be read: then this process is gone. A first process that ends with the exit code `fatal` could never start,
    so all end with it."""

    def __init__(self, serve: Callable[[int, socket.socket, int], int], sockets: list[socket.socket], fatal: int) -> None:
        self._serve = serve
        self._sockets = sockets
        self._fatal = fatal
        self._slots: dict[int, int] = {}  # by process id
        self._started = [-LEAST_SECONDS] * len(sockets)  # by slot, in seconds of time.monotonic
        self._replaced: set[int] = set()  # slots
        self._is_ending = False
        self._exit_code = 0
        self.ended_by: signal.Signals | None = None
        self._read_end, self._write_end = os.pipe()

    def run(self) -> int:
        """Returns the exit code once all processes have ended."""
        before = {number: signal.signal(number, self._note_and_pass_on) for number in STOP}
        for slot in range(len(self._sockets)):
            self._start(slot)
        while self._slots:
            process, status = os.wait()
            if process in self._slots:  # the first process of a container also gets those that lost their parent
                self._replace(self._slots.pop(process), process, os.waitstatus_to_exitcode(status))
        for number, handler in before.items():
            signal.signal(number, handler)
        return self._exit_code

    def _replace(self, slot: int, process: int, exit_code: int) -> None:
        if exit_code == self._fatal and slot not in self._replaced:
            self._exit_code = exit_code
            self._pass_on(signal.SIGTERM)
        if not self._is_ending:
            logger.error("process ended", extra={"pid": process, "exit_code": exit_code})
            self._replaced.add(slot)
            self._start(slot)

    def _start(self, slot: int) -> None:
        """Tries again while the system has no room for a process."""
        while not self._is_ending and slot not in self._slots.values():
            time.sleep(max(0.0, self._started[slot] + LEAST_SECONDS - time.monotonic()))
            self._started[slot] = time.monotonic()
            signal.pthread_sigmask(signal.SIG_BLOCK, STOP)  # until the child has its own handlers, and is known here
            try:
                if not self._is_ending:
                    self._fork(slot)
            except OSError as error:
                logger.error("no process", extra={"error": repr(error)})
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)

    def _fork(self, slot: int) -> None:
        process = os.fork()
        if process == 0:
            self._become_child(slot)
        self._slots[process] = slot

    def _become_child(self, slot: int) -> None:
        try:
            os.setpgid(0, 0)  # a terminal's Ctrl-C goes to the supervisor alone, which passes it on
            os.close(self._write_end)
            for other in self._sockets:
                if other is not self._sockets[slot]:
                    other.close()
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP)
            os._exit(self._serve(slot, self._sockets[slot], self._read_end))
        except Exception:
            logger.exception("process failed")
        finally:  # whatever happens, a child must not go on as its parent
            os._exit(1)

    def _note_and_pass_on(self, number: int, _: FrameType | None) -> None:
        self.ended_by = signal.Signals(number)
        self._pass_on(number)

    def _pass_on(self, number: int) -> None:
        """Ends all processes by this signal. They must be the last to hold the sockets, so that each closes as it drains."""
        self._is_ending = True
        for listening in self._sockets:
            listening.close()
        for process in self._slots:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, number)
