"""What a process and all its descendants use, from Linux's /proc: fair to servers of one process and of many."""

import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")  # a second
SAMPLE_SECONDS = 0.5
STOP_SECONDS = 15


class Memory(NamedTuple):
    """Bytes. `pss` counts a page that n processes share as 1/n in each; `rss` counts it whole in each."""

    rss: int = 0
    pss: int = 0


class Peak:
    memory = Memory()


def tree(root: int) -> list[int]:
    """The process and its descendants; empty once it has ended."""
    children: dict[int, list[int]] = {}
    for path in PROC.glob("[0-9]*"):
        if fields := _stat(int(path.name)):
            children.setdefault(int(fields[1]), []).append(int(path.name))
    found = [root] if _stat(root) else []
    for pid in found:
        found += children.get(pid, [])
    return found


def cpu_seconds(root: int) -> float:
    """User and system time since their start, that of descendants who have ended too."""
    return sum(sum(map(int, fields[11:15])) for pid in tree(root) if (fields := _stat(pid))) / TICKS


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
    """Sampled while the block runs; in `memory` once it has ended."""
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
    """SIGTERM; what has not ended after a while, or was left behind, is killed."""
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
