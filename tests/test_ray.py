"""The Ray engine, on a cluster whose only worker node dies."""

import contextlib
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

FILES = 400  # seven blocks
KILL_AFTER = 100  # lines of the journal
END_SECONDS = 400  # on one busy core it takes over 120


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:  # Any: Ray's Cluster
    """A head node without CPUs: all work happens on nodes that a test adds, so it knows which one is at work."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        watchful = {"health_check_period_ms": 500, "health_check_failure_threshold": 2}
        head = {"num_cpus": 0, "include_dashboard": False, "_system_config": watchful}
        nodes = Cluster(initialize_head=True, head_node_args=head)
        patch.setenv("RAY_ADDRESS", nodes.address)
        patch.setenv("MEDXFER_MODEL", str(DEFAULT_MODEL))
        try:
            yield nodes
        finally:
            nodes.shutdown()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    drawing = encode(grey(448, 448))
    for number in range(FILES - 2):
        (folder / f"{number:04}.png").write_bytes(drawing)
    (folder / "no image.png").write_bytes(b"no image")
    (folder / os.fsdecode(b"\xff.png")).write_bytes(drawing)
    return folder


@pytest.fixture(scope="module")
def expected(cluster: Any, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    out = tmp_path_factory.mktemp("here") / "here.jsonl"
    subprocess.run(command(archive, out), cwd=ROOT, check=False)
    return out.read_bytes()


def command(images: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "service", "predict", str(images), "--out", str(out), *options]


@contextlib.contextmanager
def half_done(archive: Path, out: Path) -> Iterator["subprocess.Popen[bytes]"]:
    journal = out.with_name(out.name + ".part")
    with subprocess.Popen(command(archive, out, "--engine", "ray"), cwd=ROOT) as process:
        try:
            while not journal.exists() or journal.read_bytes().count(b"\n") < KILL_AFTER:
                assert process.poll() is None, "it ended too early"
                time.sleep(0.02)
            yield process
        finally:
            process.kill()


def test_a_node_that_dies_costs_no_row_and_gives_none_twice(
    cluster: Any, archive: Path, expected: bytes, tmp_path: Path
) -> None:
    node, out = cluster.add_node(num_cpus=1), tmp_path / "ray.jsonl"
    with half_done(archive, out) as process:
        cluster.remove_node(node, allow_graceful=False)
        node = cluster.add_node(num_cpus=1)
        assert process.wait(END_SECONDS) == 1  # as one file is not an image
    cluster.remove_node(node)
    assert out.read_bytes() == expected
    paths = [json.loads(line)["path"] for line in out.read_text().splitlines()]
    assert len(paths) == len(set(paths)) == FILES


def test_a_run_that_ray_began_is_finished_without_it(cluster: Any, archive: Path, expected: bytes, tmp_path: Path) -> None:
    node, out = cluster.add_node(num_cpus=1), tmp_path / "out.jsonl"
    with half_done(archive, out):
        pass
    cluster.remove_node(node)
    done = subprocess.run(command(archive, out), cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert " 0 answered before" not in done.stdout
    assert out.read_bytes() == expected
