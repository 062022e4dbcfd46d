"""What the machine offers this process: CPUs, and instructions for int8. `root`: a folder in place of / (for tests).

Standard library alone, so that a bare Python can ask it inside any container.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")
INT8_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "asimddp")  # x86, x86 without AVX-512, Arm; as Linux calls them


def available_cpus(root: Path = ROOT) -> int:
    """CPUs that this process may use: its affinity (taskset, cpuset), and its quota, never the host's count.

    Rounded up: a quota is time, not CPUs. Of 1.5 CPUs one lane would leave a third unused; two use it all, and wait for the
    rest of a period (0.1 s, as a rule) where they have.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(affinity, cpu_quota(root))))


def cpu_quota(root: Path = ROOT) -> float:
    """CPU seconds a second: the least that the control group of this process (version 1 or 2), or one above it, grants.

    Infinity where no limit can be seen. Weights (docker's `--cpu-shares`, Kubernetes' requests) limit nothing.
    """
    return min(map(_quota, _cpu_groups(root)), default=math.inf)


def int8_instructions(root: Path = ROOT) -> str | None:
    """Those by which every CPU here multiplies int8 exactly and fast, None where there are none, or nobody knows.

    Older x86 CPUs add pairs of products of uint8 and int8 in 16 bits (vpmaddubsw), which saturates where both are large: the
    network's answers can be wrong. VNNI, and dot products on Arm, add in 32 bits.
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html
    """
    try:
        lines = (root / "proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # not Linux
        system = os.uname()
        return "asimddp" if (system.sysname, system.machine) == ("Darwin", "arm64") else None  # in all Apple silicon
    flags = [set(line.partition(":")[2].split()) for line in lines if line.startswith(("flags", "Features"))]
    return next((name for name in INT8_INSTRUCTIONS if flags and all(name in each for each in flags)), None)


def _cpu_groups(root: Path) -> Iterator[Path]:
    """Folders of the control groups that hold this process, where they may limit CPUs, up to the highest that is mounted.

    In a container the mount often begins at its own group, whatever /proc/self/cgroup says of the way there.
    """
    try:
        groups = (root / "proc/self/cgroup").read_text().splitlines()
        mounts = (root / "proc/self/mountinfo").read_text().splitlines()
    except OSError:  # not Linux
        return
    path_of = {name: path for _, names, path in (line.split(":", 2) for line in groups) for name in names.split(",")}
    for mount in mounts:
        left, _, right = mount.partition(" - ")
        (top, mounted_at), (kind, *_, options) = left.split()[3:5], right.split()
        controller = "" if kind == "cgroup2" else "cpu"
        if controller in path_of and (kind == "cgroup2" or (kind == "cgroup" and "cpu" in options.split(","))):
            inside = _inside(path_of[controller], top)
            for depth in range(len(inside) + 1):
                yield root.joinpath(mounted_at.lstrip("/"), *inside[:depth])


def _inside(path: str, top: str) -> tuple[str, ...]:
    """The way from the mount's top to a group; empty where it does not lead there (another namespace's words)."""
    way = PurePosixPath(path)
    parts = way.relative_to(top).parts if way.is_relative_to(top) else ()
    return () if ".." in parts else parts


def _quota(group: Path) -> float:
    """`cpu.max` holds «quota period»; version 1 has a file for each. Without a limit: «max», -1, or no file."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text().split()
        else:
            quota, period = ((group / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return int(quota) / int(period) if int(quota) > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
