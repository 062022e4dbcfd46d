"""CPU time and memory of a process with all its descendants: fair to servers of one process or many."""

import subprocess
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import psutil

STOP_SECONDS = 15


class Memory(NamedTuple):
    """Bytes. A page that n processes share counts as 1/n of a page in `pss`, and as n pages in `rss`."""

    rss: int = 0
    pss: int = 0


def tree(root: int) -> Iterator[psutil.Process]:
    """The process and its descendants. Ends early if one of them ends meanwhile."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(root)
        yield process
        yield from process.children(recursive=True)


def cpu_seconds(root: int) -> float:
    """User and system time since their start, with that of descendants that have ended."""
    times = [process.cpu_times() for process in tree(root)]
    return sum(each.user + each.system + each.children_user + each.children_system for each in times)


def main_thread_cpu_seconds(process: int) -> float:
    """User and system time of a process's first thread, which runs our service's event loop, since its start."""
    times = next(each for each in psutil.Process(process).threads() if each.id == process)
    return float(times.user_time + times.system_time)


def memory(root: int) -> Memory:
    found = [process.memory_full_info() for process in tree(root)]
    return Memory(sum(each.rss for each in found), sum(each.pss for each in found))


def stop(process: "subprocess.Popen[bytes]") -> None:
    descendants = list(tree(process.pid))[1:]
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    process.kill()
    process.wait()
    for descendant in descendants:
        with suppress(psutil.NoSuchProcess):  # it has ended, too
            descendant.kill()
