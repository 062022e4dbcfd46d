"""Nothing stops `python -m service predict` for good, nor makes it say what is not so."""

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from service.model.artefact import write_sums
from tests.benchmarks import processes
from tests.conftest import DEFAULT_MODEL, ROOT, encode, free_port, grey
from tests.service.archive.archives import Predict, begun, command, part_of, read


@pytest.mark.parametrize("lines", [1, 2, 20, 41])
def test_a_run_that_is_killed_goes_on_to_the_same_results(predict: Predict, folder: Path, tmp_path: Path, lines: int) -> None:
    out = tmp_path / "out.jsonl"
    with begun(folder, out, lines) as process:
        process.kill()
    assert not out.exists()
    resumed = predict(folder, out)
    before = re.search(r"40 files, (\d+) answered before", resumed.stdout)
    assert resumed.code == 0
    assert before
    assert int(before[1]) >= lines - 1
    predict(folder, tmp_path / "whole.jsonl")
    assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "out.jsonl", "whole.jsonl"]


def test_ctrl_c_ends_it_with_130_and_says_how_to_go_on(predict: Predict, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with begun(folder, out, 5) as process:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    assert not out.exists()
    assert predict(folder, out).code == 0


def test_a_second_ctrl_c_does_not_keep_it_from_ending(predict: Predict, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with begun(folder, out, 5, "--workers", 2) as process:
        for _ in range(2):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.05)
        process.communicate(timeout=30)
    assert process.returncode == 130
    assert predict(folder, out).code == 0


@pytest.fixture
def part(folder: Path, tmp_path: Path) -> bytes:
    """What a run left that was killed."""
    with begun(folder, tmp_path / "out.jsonl", 10) as process:
        process.kill()
    return part_of(tmp_path / "out.jsonl").read_bytes()


def test_a_part_that_is_cut_or_damaged_costs_only_what_comes_after(
    predict: Predict, folder: Path, tmp_path: Path, part: bytes
) -> None:
    out, lines = tmp_path / "out.jsonl", part.splitlines(keepends=True)
    predict(folder, tmp_path / "whole.jsonl")
    for damaged, kept in (
        (b"", 0),
        (part[:20], 0),
        (lines[0], 0),
        (b"".join(lines[:4]) + lines[4][:-1], 3),
        (b"".join(lines[:4]) + lines[4][:30], 3),
        (b"".join(lines[:4]) + bytes(500) + b"\n" + lines[5], 3),
        (b"".join(lines[:4]) + b"\xff\xfe\n" + lines[5], 3),
        (b"".join([*lines[:4], *lines[1:4]]), 3),
    ):
        out.unlink(missing_ok=True)
        part_of(out).write_bytes(damaged)
        assert f"40 files, {kept} answered before" in predict(folder, out).stdout
        assert out.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_what_another_run_left_is_refused_and_left_alone(predict: Predict, folder: Path, tmp_path: Path, part: bytes) -> None:
    out = tmp_path / "out.jsonl"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.png").write_bytes(encode(grey(64, 64)))
    other_model = shutil.copytree(DEFAULT_MODEL, tmp_path / "model")
    change_threshold(other_model)
    for done, said in (
        (predict(folder, out, MEDXFER_VARIANT="fp32"), "variant"),
        (predict(tmp_path / "other", out), "images"),
        (predict(folder, out, MEDXFER_MODEL=str(other_model)), "description_sha256"),
    ):
        assert done.code == 2
        assert done.stderr.startswith(f"medxfer: {part_of(out)}: was begun with {said} ")
        assert part_of(out).read_bytes() == part
    part_of(out).write_bytes(b"mine")
    assert "no file of this command" in predict(folder, out).stderr
    assert part_of(out).read_bytes() == b"mine"


def change_threshold(model: Path) -> None:
    description = json.loads((model / "model.json").read_bytes())
    description["thresholds"]["screening"] /= 2
    (model / "model.json").write_text(json.dumps(description))
    write_sums(model, ["model.json", *(variant["file"] for variant in description["variants"].values())])


def test_what_changed_came_or_went_meanwhile_is_in_the_results_as_it_is_now(
    predict: Predict, folder: Path, tmp_path: Path, part: bytes
) -> None:
    out = tmp_path / "out.jsonl"
    (folder / "00.png").write_bytes(encode(grey(300, 260, 99)))
    (folder / "01.png").unlink()
    (folder / "new.png").write_bytes(b"no image")
    assert predict(folder, out).code == 1
    predict(folder, tmp_path / "anew.jsonl")
    assert out.read_bytes() == (tmp_path / "anew.jsonl").read_bytes()


def test_what_could_not_be_read_is_tried_again(predict: Predict, folder: Path, tmp_path: Path) -> None:
    (folder / "00.png").unlink()
    (folder / "00.png").symlink_to("missing.bin")
    with begun(folder, tmp_path / "out.jsonl", 10) as process:
        process.kill()
    (folder / "missing.bin").write_bytes(encode(grey(300, 260)))
    assert predict(folder, tmp_path / "out.jsonl").code == 0


def test_two_runs_do_not_write_the_same_results(predict: Predict, folder: Path, tmp_path: Path) -> None:
    with begun(folder, tmp_path / "out.csv", 41):
        second = predict(folder, tmp_path / "out.csv")
    assert second.code == 2
    assert "another run is writing it" in second.stderr


def test_a_full_disk_ends_it_with_a_reason_and_it_goes_on_once_there_is_room(
    predict: Predict, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    limited = subprocess.run(
        command(folder, out),
        cwd=ROOT,
        env={**os.environ, "MEDXFER_MODEL": str(DEFAULT_MODEL)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000)),  # as if the disk had no more
        capture_output=True,
        text=True,
        check=False,
    )
    assert limited.returncode == 2
    assert limited.stderr == f"medxfer: {part_of(out)}: File too large\n"
    assert not out.exists()
    assert predict(folder, out).code == 0
    assert len(read(out)) == 40


def test_several_processes_give_the_same(predict: Predict, folder: Path, tmp_path: Path) -> None:
    assert predict(folder, tmp_path / "one.csv").code == 0
    assert predict(folder, tmp_path / "three.csv", "--workers", 3).code == 0
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "three.csv").read_bytes()


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGKILL, -signal.SIGKILL), (signal.SIGINT, 130)])
def test_all_processes_end_with_the_first(
    predict: Predict, folder: Path, tmp_path: Path, stop: signal.Signals, code: int
) -> None:
    out = tmp_path / "out.csv"
    with begun(folder, out, 33, "--workers", 3) as process:
        assert len(processes.tree(process.pid)) > 3
        process.send_signal(stop)  # to the first alone
        _, errors = process.communicate(timeout=30)  # waits until none is left that holds the pipe
    assert process.returncode == code
    assert "Traceback" not in errors
    assert "32 answered before" in predict(folder, out).stdout


def test_a_ctrl_c_that_reaches_all_processes_leaves_no_traceback(folder: Path, tmp_path: Path) -> None:
    with begun(folder, tmp_path / "out.csv", 33, "--workers", 3) as process:
        for each in processes.tree(process.pid):
            os.kill(each, signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "medxfer: interrupted; the same command goes on from here\n")


def test_a_worker_that_is_killed_ends_the_run_with_a_reason(predict: Predict, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with begun(folder, out, 33, "--workers", 3) as process:
        os.kill(processes.tree(process.pid)[-1], signal.SIGKILL)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 2
    assert errors == "medxfer: a worker was killed, for want of memory perhaps; the same command goes on from here\n"
    assert predict(folder, out).code == 0


def test_a_cluster_that_is_not_there_is_said_at_once(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is an extra, and is not installed here")
    environment = {**os.environ, "MEDXFER_MODEL": str(DEFAULT_MODEL), "RAY_ADDRESS": f"127.0.0.1:{free_port()}"}
    line = command(folder, tmp_path / "out.csv", "--engine", "ray")
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == f"medxfer: RAY_ADDRESS={environment['RAY_ADDRESS']}: cannot connect: Connection refused\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]


def test_an_archive_that_goes_away_meanwhile_is_no_result(predict: Predict, folder: Path, tmp_path: Path) -> None:
    out, away = tmp_path / "out.csv", tmp_path / "away"
    with begun(folder, out, 5) as process:
        folder.rename(away)
        _, errors = process.communicate(timeout=30)
        away.rename(folder)
    assert process.returncode == 2
    assert "has gone meanwhile" in errors
    assert not out.exists()
    assert predict(folder, out).code == 0


def test_a_part_that_is_no_file_is_refused(predict: Predict, folder: Path, tmp_path: Path) -> None:
    os.mkfifo(part_of(tmp_path / "out.csv"))
    done = predict(folder, tmp_path / "out.csv")
    assert done.code == 2
    assert "is not a regular file" in done.stderr
