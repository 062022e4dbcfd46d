"""Counts the CPUs that this process may use, and finds the int8 instructions of the CPU.
It imports the standard library alone, so that a bare Python in any container can run it. Tests pass a folder as `root`."""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path("/")
ONE_PROCESS, CPUS_OF_A_PROCESS = 11, 6  # up to so many CPUs, one event loop keeps all of them busy; tests/benchmarks
INT8_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "asimddp")  # x86, x86 without AVX-512, Arm; as Linux calls them


def available_cpus(root: Path = ROOT) -> int:
    """Count the CPUs that this process may use, by its affinity (taskset, cpuset) and its quota, never the host's count. A
    quota limits time, not CPUs, so it is rounded up. With 1.5 CPUs, one lane would leave a third unused; two lanes use all of
    it and wait for the rest of a period (usually 0.1 s)."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(affinity, cpu_quota(root))))


def processes_for(cpus: int) -> int:
    """How many processes should serve on so many CPUs."""
    return 1 if cpus <= ONE_PROCESS else cpus // CPUS_OF_A_PROCESS


def cpu_quota(root: Path = ROOT) -> float:
    """CPU seconds per second: the lowest quota of this process's control group (version 1 or 2) and the groups above it.
    Infinity if there is none. Weights (docker's `--cpu-shares`, Kubernetes' requests) are not limits."""
    return min(map(_read_quota, _cpu_groups(root)), default=math.inf)


def int8_instructions(root: Path = ROOT) -> str | None:
    """The instructions by which every CPU here multiplies int8 exactly and fast; None if there are none, or it is unknown.

    Older x86 CPUs add pairs of products in 16 bits (vpmaddubsw), which saturates, so that the network's answers can be wrong.
    VNNI on x86 and dot products on Arm add in 32 bits.
    https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html"""
    try:
        lines = (root / "proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:  # not Linux; all Apple silicon has dot products
        system = os.uname()
        return "asimddp" if (system.sysname, system.machine) == ("Darwin", "arm64") else None
    flags = [set(line.partition(":")[2].split()) for line in lines if line.startswith(("flags", "Features"))]
    return next((name for name in INT8_INSTRUCTIONS if flags and all(name in each for each in flags)), None)


def _cpu_groups(root: Path) -> Iterator[Path]:
    """Yield the folders of this process's control group and of those above it that are mounted and can limit CPUs."""
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
            below = _below(top, path_of[controller])
            for depth in range(len(below) + 1):
                yield root.joinpath(mounted_at.lstrip("/"), *below[:depth])


def _below(top: str, path: str) -> tuple[str, ...]:
    """The folders from the top of a mount to a group; none if /proc/self/cgroup gives the path in another namespace."""
    parts = PurePosixPath(path).relative_to(top).parts if PurePosixPath(path).is_relative_to(top) else ()
    return () if ".." in parts else parts


def _read_quota(group: Path) -> float:
    """`cpu.max` holds «quota period», version 1 has a file for each. No limit is «max», −1 or a missing file."""
    try:
        names = ["cpu.max"] if (group / "cpu.max").exists() else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
        quota, period = (int(number) for name in names for number in (group / name).read_text().split())
        return quota / period if quota > 0 else math.inf
    except (OSError, ValueError, ZeroDivisionError):
        return math.inf
