import json
import math
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from service.machine import available_cpus, cpu_quota, int8_instructions
from tests.conftest import ROOT
from tests.service.archive.conftest import fill

V2_MOUNT = "30 23 0:27 {top} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNTS = (
    "29 23 0:25 / / rw,relatime - ext4 /dev/vda rw\n"
    "31 29 0:28 {top} /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"
    "32 29 0:29 {top} /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n"
    "33 29 0:30 {top} /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n"
)
V1_GROUPS = "5:memory:/elsewhere\n4:cpu,cpuacct:{path}\n1:name=systemd:/elsewhere\n0::/elsewhere\n"
UNLIMITED = "-1 100000", "max 100000", "", "100000", "x 100000", "100000 0"
QUOTAS = {  # path, limits, top of the mount, quota
    "own": ("/a/b", {"a/b": "150000 100000"}, "/", 1.5),
    "above": ("/a/b/c", {"a": "50000 100000", "a/b/c": "300000 100000", "z": "1000 100000"}, "/", 0.5),
    "below": ("/a/b/c", {"a": "300000 100000", "a/b/c": "50000 100000"}, "/", 0.5),
    "own namespace": ("/", {"": "40000 50000"}, "/", 0.8),
    "no namespace": ("/docker/1f/job", {"": "250000 100000", "job": "120000 100000"}, "/docker/1f", 1.2),
    "outside the mount": ("/../../fs/other", {"": "200000 100000", "../../fs/other": "10000 100000"}, "/", 2),
    "another namespace": ("/mine", {"": "200000 100000"}, "/another", 2),
    **{f"no limit: {text}": ("/a", {"a": text}, "/", math.inf) for text in UNLIMITED},
}
INSTRUCTIONS = {  # by the lines of the CPUs
    ("flags\t\t: fpu avx2 avx512f avx512_vnni avx512_bf16",) * 2: "avx512_vnni",
    ("flags\t\t: fpu avx2 avx_vnni",) * 2: "avx_vnni",
    ("flags\t\t: fpu avx2 avx512f avx512bw avx512_vnni_of_some_kind",) * 2: None,
    ("Features\t: fp asimd atomics asimddp",) * 2: "asimddp",
    ("Features\t: fp asimd atomics asimddp", "Features\t: fp"): None,
    ("model name\t: asimddp avx_vnni",) * 2: None,
}
PROGRAM = "import json; from service.machine import *; print(json.dumps([available_cpus(), cpu_quota()]))"
CONTAINERS = {
    "--cgroupns=host": math.inf,
    "--cgroupns=host --cpus 1.5": 1.5,
    "--cgroupns=private --cpus 0.5": 0.5,
    "--cgroupns=private --cpu-shares 2": math.inf,
    "--cgroupns=host -v /sys/fs/cgroup:/sys/fs/cgroup:ro --cpus 0.7": 0.7,  # with the groups above its own
}


def system(root: Path, version: int, path: str, limits: dict[str, str], top: str = "/") -> Path:
    groups, mounts = (V1_GROUPS, V1_MOUNTS) if version == 1 else ("0::{path}\n", V2_MOUNT)
    files = {"proc/self/cgroup": groups.format(path=path), "proc/self/mountinfo": mounts.format(top=top)}
    for folder, limit in limits.items():
        (quota, _, period), v1 = limit.partition(" "), f"sys/fs/cgroup/cpu,cpuacct/{folder}/cpu.cfs"
        files |= {f"sys/fs/cgroup/{folder}/cpu.max": limit, f"{v1}_quota_us": quota, f"{v1}_period_us": period}
    return fill(root, {name: content.encode() for name, content in files.items()})


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("name", QUOTAS)
def test_the_lowest_quota_of_the_group_and_those_above_counts(version: int, name: str, tmp_path: Path) -> None:
    path, limits, top, quota = QUOTAS[name]
    assert cpu_quota(system(tmp_path, version, path, limits, top)) == quota


@pytest.mark.parametrize(("quota", "cpus"), [("10000", 1), ("100000", 1), ("110000", 2)])
def test_a_part_of_a_cpu_counts_as_one(quota: str, cpus: int, tmp_path: Path) -> None:
    here = available_cpus(tmp_path)
    assert available_cpus(system(tmp_path, 2, "/", {"": f"{quota} 100000"})) == min(cpus, here)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a CPU")
def test_a_process_bound_to_one_cpu_has_one(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert (available_cpus(tmp_path), available_cpus(), cpu_quota(tmp_path)) == (1, 1, math.inf)
    finally:
        os.sched_setaffinity(0, before)


def test_the_instructions_are_those_that_every_cpu_lists(tmp_path: Path) -> None:
    for lines, found in INSTRUCTIONS.items():
        cpus = "".join(f"processor\t: {index}\n{line}\n\n" for index, line in enumerate(lines))
        assert int8_instructions(fill(tmp_path, {"proc/cpuinfo": cpus.encode()})) == found


@pytest.mark.skipif(not shutil.which("docker"), reason="there is no docker here")
@pytest.mark.parametrize(("options", "quota"), CONTAINERS.items())
def test_a_container_knows_its_quota(options: str, quota: float) -> None:
    command = ["docker", "run", "--rm", "-v", f"{ROOT / 'service'}:/service:ro", *options.split(), "python:3.13-slim"]
    process = subprocess.run([*command, "python3", "-B", "-c", PROGRAM], capture_output=True, text=True, check=False)
    if process.returncode == 125:  # docker's own: its daemon does not run, or it cannot fetch the image
        pytest.skip(process.stderr.strip().splitlines()[0])
    assert json.loads(process.stdout) == [math.ceil(min(os.cpu_count() or 1, quota)), quota]
