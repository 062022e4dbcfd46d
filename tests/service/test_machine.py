"""The CPUs and int8 instructions that the service finds: from files as Linux writes them, and in real containers."""

import json
import math
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from service.machine import available_cpus, cpu_quota, int8_instructions
from tests.conftest import ROOT

V2_MOUNT = "30 23 0:27 {top} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "29 23 0:25 / / rw,relatime - ext4 /dev/vda rw\n"
    "31 29 0:28 {top} /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
    "32 29 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 29 0:30 {top} /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)
V1_GROUPS = "5:memory:/elsewhere\n4:cpu,cpuacct:{path}\n1:name=systemd:/elsewhere\n0::/elsewhere\n"

Hierarchy = Callable[..., Path]


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def version_2(root: Path, path: str, limits: dict[str, str], top: str = "/") -> Path:
    """`limits`: the content of cpu.max by folder below the mount."""
    files = {f"sys/fs/cgroup/{folder}/cpu.max": limit + "\n" for folder, limit in limits.items()}
    proc = {"proc/self/cgroup": f"0::{path}\n", "proc/self/mountinfo": V2_MOUNT.format(top=top)}
    return write(root, proc | files)


def version_1(root: Path, path: str, limits: dict[str, str], top: str = "/") -> Path:
    """`limits`: quota and period by folder below the mount."""
    files = {
        f"sys/fs/cgroup/cpu,cpuacct/{folder}/cpu.cfs_{name}_us": value + "\n"
        for folder, limit in limits.items()
        for name, value in zip(("quota", "period"), limit.split(), strict=True)
    }
    proc = {"proc/self/cgroup": V1_GROUPS.format(path=path), "proc/self/mountinfo": V1_MOUNTS.format(top=top)}
    return write(root, proc | files)


def test_a_process_has_no_more_cpus_than_the_machine() -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)


@pytest.mark.parametrize("hierarchy", [version_1, version_2])
@pytest.mark.parametrize(
    ("path", "limits", "top", "quota"),
    [
        ("/a/b", {"a/b": "150000 100000"}, "/", 1.5),
        ("/a/b/c", {"a": "50000 100000", "a/b/c": "300000 100000", "z": "1000 100000"}, "/", 0.5),
        ("/a/b/c", {"a": "300000 100000", "a/b/c": "50000 100000"}, "/", 0.5),
        ("/", {"": "40000 50000"}, "/", 0.8),
        ("/docker/1f/job", {"": "250000 100000", "job": "120000 100000"}, "/docker/1f", 1.2),
        ("/../../fs/other", {"": "200000 100000", "../../fs/other": "10000 100000"}, "/", 2),
        ("/mine", {"": "200000 100000"}, "/another", 2),
        ("/a", {"a": "-1 100000"}, "/", math.inf),
    ],
    ids=["own", "above", "below", "own namespace", "no namespace", "outside the mount", "another namespace", "no limit"],
)
def test_the_lowest_quota_of_the_group_and_those_above_counts(
    hierarchy: Hierarchy, path: str, limits: dict[str, str], top: str, quota: float, tmp_path: Path
) -> None:
    assert cpu_quota(hierarchy(tmp_path, path, limits, top)) == quota


@pytest.mark.parametrize("limit", ["max 100000", "", "100000", "x 100000", "100000 0"])
def test_a_cpu_max_without_a_limit_limits_nothing(limit: str, tmp_path: Path) -> None:
    assert cpu_quota(version_2(tmp_path, "/a", {"a": limit})) == math.inf
    assert cpu_quota(tmp_path / "no control groups") == math.inf


@pytest.mark.parametrize(("quota", "cpus"), [("10000", 1), ("100000", 1), ("110000", 2)])
def test_a_part_of_a_cpu_counts_as_one(quota: str, cpus: int, tmp_path: Path) -> None:
    here = available_cpus(tmp_path)
    assert available_cpus(version_2(tmp_path, "/", {"": f"{quota} 100000"})) == min(cpus, here)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a CPU")
def test_a_process_bound_to_one_cpu_has_one(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cpus(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("first", "second", "found"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16", "", "avx512_vnni"),
        ("flags\t\t: fpu avx2 avx_vnni", "", "avx_vnni"),
        ("flags\t\t: fpu avx2 avx512f avx512bw avx512_vnni_of_some_kind", "", None),
        ("Features\t: fp asimd atomics asimddp", "", "asimddp"),
        ("Features\t: fp asimd atomics asimddp", "Features\t: fp", None),
        ("Features\t: fp asimd evtstrm aes", "", None),
        ("isa\t\t: rv64imafdc", "", None),
        ("model name\t: asimddp avx_vnni", "", None),
    ],
)
def test_the_instructions_are_those_that_every_cpu_lists(first: str, second: str, found: str | None, tmp_path: Path) -> None:
    cpus = "".join(f"processor\t: {index}\n{line}\n\n" for index, line in enumerate((first, second or first)))
    assert int8_instructions(write(tmp_path, {"proc/cpuinfo": cpus})) == found


IMAGE = "python:3.13-slim"
PROGRAM = "import json; from service.machine import *; print(json.dumps([available_cpus(), cpu_quota()]))"
WHOLE_HIERARCHY = ("--cgroupns=host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:ro")  # not only the container's own part of it


@pytest.fixture(scope="module")
def engine() -> str:
    if not shutil.which("docker"):
        pytest.skip("there is no docker here")
    for command in (["docker", "info"], ["docker", "run", "--rm", IMAGE, "true"]):
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            pytest.skip(f"{' '.join(command)}: {process.stderr.strip().splitlines()[-1]}")
    return "docker"


def in_container(engine: str, *options: str) -> tuple[int, float]:
    """CPUs and quota, as a process in a container finds them."""
    mount = f"{ROOT / 'service'}:/service:ro"
    found = subprocess.check_output([engine, "run", "--rm", "-v", mount, *options, IMAGE, "python3", "-B", "-c", PROGRAM])
    cpus, quota = json.loads(found)
    return cpus, quota


@pytest.mark.parametrize(
    ("options", "quota"),
    [
        ("--cgroupns=host", math.inf),
        ("--cgroupns=host --cpus 1.5", 1.5),
        ("--cgroupns=private --cpus 0.5", 0.5),
        ("--cgroupns=private --cpu-quota 70000 --cpu-period 50000", 1.4),
        ("--cgroupns=private --cpu-shares 2", math.inf),
        (" ".join([*WHOLE_HIERARCHY, "--cpus 0.7"]), 0.7),
    ],
)
def test_a_container_knows_its_quota(engine: str, options: str, quota: float) -> None:
    cpus = math.ceil(min(os.cpu_count() or 1, quota))
    assert in_container(engine, *options.split()) == (cpus, quota)


def test_a_container_bound_to_a_cpu_has_one(engine: str) -> None:
    assert in_container(engine, "--cpuset-cpus", str(min(os.sched_getaffinity(0)))) == (1, math.inf)


def test_the_quota_of_a_group_above_counts(engine: str) -> None:
    kind = subprocess.check_output([engine, "info", "--format", "{{.CgroupDriver}} {{.CgroupVersion}}"], text=True).strip()
    if kind != "cgroupfs 1":
        pytest.skip(f"this engine ({kind}) puts no container into the group of another")
    above = subprocess.check_output([engine, "run", "-d", "--rm", "--cpus", "0.7", IMAGE, "sleep", "60"], text=True).strip()
    try:
        assert in_container(engine, *WHOLE_HIERARCHY, "--cgroup-parent", f"/docker/{above}") == (1, 0.7)
    finally:
        subprocess.run([engine, "kill", above], capture_output=True, check=True)
