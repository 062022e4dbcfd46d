"""CPU time and memory of a process with all its descendants, from Linux's /proc: fair to servers of one or many processes."""

import os
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 15


class Memory(NamedTuple):
    """Bytes. A page that n processes share counts as 1/n of a page in `pss`, and as n pages in `rss`."""

    rss: int = 0
    pss: int = 0


def tree(root: int) -> list[int]:
    """The process and its descendants. Empty if it has ended."""
    parents = {int(path.name): int(fields[1]) for path in PROC.glob("[0-9]*") if (fields := _stat(int(path.name)))}
    found = [root] if root in parents else []
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def cpu_seconds(root: int) -> float:
    """User and system time since their start, with that of descendants that have ended."""
    return sum(sum(map(int, fields[11:15])) for pid in tree(root) if (fields := _stat(pid))) / TICKS_PER_SECOND


def memory(root: int) -> Memory:
    sums = dict.fromkeys(("Rss", "Pss"), 0)
    for pid in tree(root):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines():
                name, _, value = line.partition(":")
                if name in sums:
                    sums[name] += int(value.split()[0]) * 1024
    return Memory(sums["Rss"], sums["Pss"])


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
        with suppress(ProcessLookupError):  # it has ended, too
            os.kill(pid, signal.SIGKILL)


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat behind the name: state, parent, …"""
    with suppress(FileNotFoundError, ProcessLookupError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return None
