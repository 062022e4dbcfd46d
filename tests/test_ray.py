"""The Ray engine, on a cluster of two nodes, of which one dies."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import DEFAULT_MODEL, ROOT, encode, grey

pytest.importorskip("ray", reason="Ray is an extra, and is not installed here")
pytestmark = pytest.mark.filterwarnings("ignore")  # Ray's own

FILES = 800  # some seconds of work
KILL_AFTER = 100  # rows
END_SECONDS = 120


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:  # Any: Ray's Cluster
    """One node, of one CPU."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    watchful = {"health_check_period_ms": 500, "health_check_failure_threshold": 2}
    nodes = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, "_system_config": watchful}
    )
    monkeypatch.setenv("RAY_ADDRESS", nodes.address)
    monkeypatch.setenv("MEDXFER_MODEL", str(DEFAULT_MODEL))
    try:
        yield nodes
    finally:
        nodes.shutdown()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive"
    folder.mkdir()
    drawings = [encode(grey(448, 448, seed)) for seed in range(4)]
    for number in range(FILES - 2):
        (folder / f"{number:04}.png").write_bytes(drawings[number % len(drawings)])
    (folder / "no image.png").write_bytes(b"no image")
    (folder / os.fsdecode(b"\xff.png")).write_bytes(drawings[0])
    return folder


def command(images: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "service", "predict", str(images), "--out", str(out), *options]


def is_at_work(node: Any) -> bool:
    """Whether one of the node's processes answers a block of files just now, as Ray's title of the process says."""
    raylet = node.all_processes["raylet"][0].process.pid
    for process in Path("/proc").glob("[0-9]*"):
        try:
            title, status = (process / "cmdline").read_bytes(), (process / "status").read_text()
        except OSError:  # it has ended
            continue
        if b"MapWorker(MapBatches(Worker)).submit" in title and f"\nPPid:\t{raylet}\n" in status:
            return True
    return False


def test_a_node_that_dies_midway_costs_no_row_and_gives_none_twice(cluster: Any, archive: Path, tmp_path: Path) -> None:
    second = cluster.add_node(num_cpus=1)
    out, part = tmp_path / "ray.jsonl", tmp_path / "ray.jsonl.part"
    with subprocess.Popen(command(archive, out, "--engine", "ray"), cwd=ROOT) as process:
        try:
            while not part.exists() or part.read_bytes().count(b"\n") < KILL_AFTER or not is_at_work(second):
                assert process.poll() is None, "it ended before a node could die"
                time.sleep(0.02)
            cluster.remove_node(second, allow_graceful=False)
            assert process.wait(END_SECONDS) == 1  # as one file is no image
        finally:
            process.kill()
    subprocess.run(command(archive, tmp_path / "here.jsonl"), cwd=ROOT, check=False)
    assert out.read_bytes() == (tmp_path / "here.jsonl").read_bytes()
    paths = [json.loads(line)["path"] for line in out.read_text().splitlines()]
    assert len(paths) == len(set(paths)) == FILES


def test_what_ray_left_is_finished_here(cluster: Any, archive: Path, tmp_path: Path) -> None:
    out, part = tmp_path / "out.jsonl", tmp_path / "out.jsonl.part"
    with subprocess.Popen(command(archive, out, "--engine", "ray"), cwd=ROOT) as process:
        while not part.exists() or part.read_bytes().count(b"\n") < KILL_AFTER:
            assert process.poll() is None, "it ended before it could be killed"
            time.sleep(0.02)
        process.kill()
    done = subprocess.run(command(archive, out), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert " 0 answered before" not in done.stdout
    subprocess.run(command(archive, tmp_path / "here.jsonl"), cwd=ROOT, check=False)
    assert out.read_bytes() == (tmp_path / "here.jsonl").read_bytes()
