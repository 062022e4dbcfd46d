"""CPU time and memory of a process with all its descendants, from Linux's /proc: fair to servers of one or many processes."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
SAMPLE_SECONDS = 0.5
STOP_SECONDS = 15


class Memory(NamedTuple):
    """Bytes. A page that n processes share counts as 1/n of a page in `pss`, and as n pages in `rss`."""

    rss: int = 0
    pss: int = 0


class Peak:
    memory = Memory()


def tree(root: int) -> list[int]:
    """The process and its descendants. Empty if it has ended."""
    children: dict[int, list[int]] = {}
    for path in PROC.glob("[0-9]*"):
        if fields := _stat(int(path.name)):
            children.setdefault(int(fields[1]), []).append(int(path.name))
    found = [root] if _stat(root) else []
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """User and system time since their start, with that of descendants that have ended."""
    return sum(sum(map(int, fields[11:15])) for pid in tree(root) if (fields := _stat(pid))) / TICKS_PER_SECOND


def memory(root: int) -> Memory:
    sums = dict.fromkeys(("Rss", "Pss"), 0)
    for pid in tree(root):
        try:
            lines = (PROC / str(pid) / "smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        for name, _, value in (line.partition(":") for line in lines):
            if name in sums:
                sums[name] += int(value.split()[0]) * 1024
    return Memory(sums["Rss"], sums["Pss"])


@contextmanager
def peak_memory(root: int) -> Iterator[Peak]:
    """Samples the memory while the block runs; `memory` of the yielded object is its peak afterwards."""
    peak, over = Peak(), threading.Event()

    def sample() -> None:
        while not over.wait(SAMPLE_SECONDS):
            peak.memory = Memory(*map(max, peak.memory, memory(root)))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield peak
    finally:
        over.set()
        sampler.join()


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Sends SIGTERM, and SIGKILL to whatever has not ended after a while."""
    members = tree(process.pid)
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for pid in members[1:]:
        if _stat(pid):
            os.kill(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the name: state, parent, …"""
    try:
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
