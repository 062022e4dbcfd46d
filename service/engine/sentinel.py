"""Ends its parent, a service, if nothing comes from it for too long. It is a process of its own: a thread that holds the
interpreter's lock stops every other thread, the watchdog's too. It runs this file alone, which must not import the project.

It counts its own looks instead of reading a clock, and does not count while the parent is stopped (SIGSTOP): such a parent is
not stuck. The parent may be the first process of a container, which no signal ends unless it has a handler for it."""

import ctypes
import faulthandler
import os
import select
import signal
import subprocess
import sys

GRACE = 5  # looks: a busy machine may keep the parent's thread waiting, too
SHOW, END = signal.SIGUSR1, signal.SIGUSR2


def start(seconds: int) -> "subprocess.Popen[bytes]":
    """Its standard input wants a byte each second; closing it ends the child. Raises OSError if it cannot be started. The stuck
    process prints the stacks of its threads, then ends with the number of the signal END as its exit code."""
    faulthandler.register(SHOW, all_threads=True)
    libc = ctypes.CDLL(None)
    libc.signal(int(END), ctypes.cast(libc._exit, ctypes.c_void_p))  # handlers in Python would wait for the lock
    command = [sys.executable, "-I", "-S", __file__, str(seconds)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _main(seconds: int) -> None:
    for ignored in (signal.SIGINT, signal.SIGTERM):  # a terminal sends them to both
        signal.signal(ignored, signal.SIG_IGN)
    parent, looks = os.getppid(), 0
    while looks < seconds + GRACE:
        if select.select([0], [], [], 1)[0]:
            if not os.read(0, 4096):
                return
            looks = 0
        elif not _is_stopped(parent):
            looks += 1
    os.kill(parent, SHOW)
    select.select([], [], [], 0.5)
    os.kill(parent, END)


def _is_stopped(process: int) -> bool:
    try:
        with open(f"/proc/{process}/stat", encoding="ascii", errors="replace") as file:  # noqa: PTH123  # pathlib takes longer
            return file.read().rpartition(")")[2].split()[0] in "Tt"
    except OSError:
        return False


if __name__ == "__main__":
    _main(int(sys.argv[1]))
