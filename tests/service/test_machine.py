"""What the machine is said to offer: from files as Linux writes them, and in real containers."""

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


def written(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    return root


def with_v2(root: Path, path: str, limits: dict[str, str], top: str = "/") -> Path:
    """`limits`: cpu.max by folder below the mount."""
    files = {f"sys/fs/cgroup/{folder}/cpu.max": limit + "\n" for folder, limit in limits.items()}
    proc = {"proc/self/cgroup": f"0::{path}\n", "proc/self/mountinfo": V2_MOUNT.format(top=top)}
    return written(root, proc | files)


def with_v1(root: Path, path: str, limits: dict[str, str], top: str = "/") -> Path:
    """`limits`: quota and period by folder below the mount."""
    files = {}
    for folder, limit in limits.items():
        quota, period = limit.split()
        files[f"sys/fs/cgroup/cpu,cpuacct/{folder}/cpu.cfs_quota_us"] = quota + "\n"
        files[f"sys/fs/cgroup/cpu,cpuacct/{folder}/cpu.cfs_period_us"] = period + "\n"
    proc = {"proc/self/cgroup": V1_GROUPS.format(path=path), "proc/self/mountinfo": V1_MOUNTS.format(top=top)}
    return written(root, proc | files)


VERSIONS = pytest.mark.parametrize("hierarchy", [with_v1, with_v2])
Hierarchy = Callable[..., Path]


def test_no_more_cpus_than_this_process_may_use() -> None:
    assert 1 <= available_cpus() <= (os.cpu_count() or 1)


@VERSIONS
def test_the_own_groups_quota_is_found_below_the_mount(hierarchy: Hierarchy, tmp_path: Path) -> None:
    assert cpu_quota(hierarchy(tmp_path, "/a/b", {"a/b": "150000 100000"})) == 1.5


@VERSIONS
@pytest.mark.parametrize(("above", "own", "least"), [("50000", "300000", 0.5), ("300000", "50000", 0.5)])
def test_the_least_of_the_own_quota_and_those_above_it_counts(
    hierarchy: Hierarchy, above: str, own: str, least: float, tmp_path: Path
) -> None:
    limits = {"a": f"{above} 100000", "a/b/c": f"{own} 100000", "z": "1000 100000"}
    assert cpu_quota(hierarchy(tmp_path, "/a/b/c", limits)) == least


@VERSIONS
def test_a_namespace_that_calls_its_top_slash_is_read_at_the_mount(hierarchy: Hierarchy, tmp_path: Path) -> None:
    assert cpu_quota(hierarchy(tmp_path, "/", {"": "40000 50000"})) == 0.8


@VERSIONS
def test_a_container_without_a_namespace_finds_its_group_at_the_top_of_its_mount(hierarchy: Hierarchy, tmp_path: Path) -> None:
    limits = {"": "250000 100000", "job": "120000 100000"}
    assert cpu_quota(hierarchy(tmp_path, "/docker/1f/job", limits, top="/docker/1f")) == 1.2


@VERSIONS
def test_words_of_another_namespace_do_not_lead_out_of_the_mount(hierarchy: Hierarchy, tmp_path: Path) -> None:
    limits = {"": "200000 100000", "../../fs/other": "10000 100000"}
    assert cpu_quota(hierarchy(tmp_path, "/../../fs/other", limits)) == 2
    assert cpu_quota(hierarchy(tmp_path, "/mine", limits, top="/another")) == 2


@pytest.mark.parametrize("limit", ["max 100000", "", "100000", "x 100000", "100000 0"])
def test_where_cpu_max_sets_no_limit_there_is_none(limit: str, tmp_path: Path) -> None:
    assert cpu_quota(with_v2(tmp_path, "/a", {"a": limit})) == math.inf


def test_where_version_1_sets_no_limit_there_is_none(tmp_path: Path) -> None:
    assert cpu_quota(with_v1(tmp_path, "/a", {"a": "-1 100000"})) == math.inf


def test_where_there_are_no_control_groups_there_is_no_limit(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) == math.inf


@pytest.mark.parametrize(("quota", "cpus"), [("10000", 1), ("100000", 1), ("110000", 2)])
def test_a_part_of_a_cpu_counts_as_one(quota: str, cpus: int, tmp_path: Path) -> None:
    here = available_cpus(tmp_path)
    assert available_cpus(with_v2(tmp_path, "/", {"": f"{quota} 100000"})) == min(cpus, here)


def test_a_process_bound_to_one_cpu_has_one(tmp_path: Path) -> None:
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("this system binds no process to a CPU")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_cpus(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("flags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16", "avx512_vnni"),
        ("flags\t\t: fpu avx2 avx_vnni", "avx_vnni"),
        ("flags\t\t: fpu avx2 avx512f avx512bw avx512_vnni_of_some_kind", None),
        ("Features\t: fp asimd atomics asimddp", "asimddp"),
        ("Features\t: fp asimd evtstrm aes", None),
        ("isa\t\t: rv64imafdc", None),
        ("model name\t: asimddp avx_vnni", None),
    ],
)
def test_the_instructions_are_those_that_the_cpu_lists(line: str, found: str | None, tmp_path: Path) -> None:
    cpus = "".join(f"processor\t: {index}\n{line}\n\n" for index in range(2))
    assert int8_instructions(written(tmp_path, {"proc/cpuinfo": cpus})) == found


def test_an_instruction_that_one_cpu_lacks_is_not_there(tmp_path: Path) -> None:
    cpus = "processor\t: 0\nFeatures\t: fp asimddp\n\nprocessor\t: 1\nFeatures\t: fp\n"
    assert int8_instructions(written(tmp_path, {"proc/cpuinfo": cpus})) is None


IMAGE = "python:3.13-slim"
ASK = "import json; from service.machine import *; print(json.dumps([available_cpus(), cpu_quota()]))"
WHOLE_HIERARCHY = ("--cgroupns=host", "-v", "/sys/fs/cgroup:/sys/fs/cgroup:ro")  # not only the container's own part of it


@pytest.fixture(scope="module")
def engine() -> str:
    if not shutil.which("docker"):
        pytest.skip("no docker here")
    for command in (["docker", "info"], ["docker", "run", "--rm", IMAGE, "true"]):
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode:
            pytest.skip(f"{' '.join(command)}: {process.stderr.strip().splitlines()[-1]}")
    return "docker"


def asked(engine: str, *options: str) -> tuple[int, float]:
    """CPUs and quota, as a process in a container finds them."""
    mount = f"{ROOT / 'service'}:/service:ro"
    found = subprocess.check_output([engine, "run", "--rm", "-v", mount, *options, IMAGE, "python3", "-B", "-c", ASK])
    cpus, quota = json.loads(found)
    return cpus, quota


@pytest.mark.parametrize("namespace", ["host", "private"])
@pytest.mark.parametrize(
    ("options", "quota"),
    [
        ("", math.inf),
        ("--cpus 0.5", 0.5),
        ("--cpus 1.5", 1.5),
        ("--cpu-quota 70000 --cpu-period 50000", 1.4),
        ("--cpu-shares 2", math.inf),
    ],
)
def test_a_container_knows_its_quota(engine: str, namespace: str, options: str, quota: float) -> None:
    cpus = math.ceil(min(os.cpu_count() or 1, quota))
    assert asked(engine, f"--cgroupns={namespace}", *options.split()) == (cpus, quota)


def test_a_container_bound_to_a_cpu_has_one(engine: str) -> None:
    assert asked(engine, "--cpuset-cpus", str(min(os.sched_getaffinity(0)))) == (1, math.inf)


def test_a_quota_is_found_deep_in_the_hierarchy(engine: str) -> None:
    assert asked(engine, *WHOLE_HIERARCHY, "--cpus", "0.7") == (1, 0.7)


def test_the_quota_of_a_group_above_counts(engine: str) -> None:
    kind = subprocess.check_output([engine, "info", "--format", "{{.CgroupDriver}} {{.CgroupVersion}}"], text=True).strip()
    if kind != "cgroupfs 1":
        pytest.skip(f"this engine ({kind}) puts no container into the group of another")
    above = subprocess.check_output([engine, "run", "-d", "--rm", "--cpus", "0.7", IMAGE, "sleep", "60"], text=True).strip()
    try:
        assert asked(engine, *WHOLE_HIERARCHY, "--cgroup-parent", f"/docker/{above}") == (1, 0.7)
    finally:
        subprocess.run([engine, "kill", above], capture_output=True, check=True)
