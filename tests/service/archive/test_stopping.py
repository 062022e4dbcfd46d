"""Interrupted runs of `python -m service predict` resume, and never give wrong results."""

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from service.archive.entries import Entry
from service.archive.journal import open_journal
from service.errors import ArchiveError
from service.model.artefact import write_sums
from tests.benchmarks import processes
from tests.conftest import DEFAULT_MODEL, ROOT, encode, free_port, grey
from tests.service.archive.conftest import ENVIRONMENT, Predict, command, interrupted, journal_of, read

GOES_ON = "the same command goes on from here\n"


@pytest.mark.parametrize("lines", [1, 41])
def test_a_killed_run_resumes_to_the_same_results(predict: Predict, folder: Path, tmp_path: Path, lines: int) -> None:
    out = tmp_path / "out.jsonl"
    with interrupted(folder, out, lines) as process:
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


@pytest.mark.parametrize(("workers", "lines"), [(1, 5), (3, 33)])
def test_ctrl_c_ends_all_processes_with_130_and_one_line(
    predict: Predict, folder: Path, tmp_path: Path, workers: int, lines: int
) -> None:
    out = tmp_path / "out.csv"
    with interrupted(folder, out, lines, "--workers", workers) as process:
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=30)  # waits until no process is left that holds the pipe
    assert (process.returncode, errors) == (130, f"medxfer: interrupted; {GOES_ON}")
    assert not out.exists()
    assert predict(folder, out).code == 0


def test_a_second_ctrl_c_does_not_keep_a_run_from_ending(folder: Path, tmp_path: Path) -> None:
    with interrupted(folder, tmp_path / "out.csv", 33, "--workers", 2) as process:
        os.killpg(process.pid, signal.SIGINT)
        while len(workers_of(process)) == 2:  # until the first one takes effect
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=30)
    assert process.returncode == 130


def workers_of(process: "subprocess.Popen[str]") -> list[int]:
    """Without multiprocessing's resource tracker. A process that has ended has no command line."""
    workers = []
    for pid in processes.tree(process.pid):
        with contextlib.suppress(OSError):  # it has just ended
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                workers.append(pid)
    return workers


def test_all_processes_end_when_the_first_is_killed(predict: Predict, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with interrupted(folder, out, 33, "--workers", 3) as process:
        assert len(workers_of(process)) == 3
        process.kill()
        process.communicate(timeout=30)  # waits until no process is left that holds the pipe
    assert "32 answered before" in predict(folder, out).stdout


def test_a_killed_worker_ends_the_run_with_a_reason(predict: Predict, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    with interrupted(folder, out, 33, "--workers", 3) as process:
        os.kill(max(workers_of(process), key=processes.cpu_seconds), signal.SIGKILL)  # one that is at work
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (2, f"medxfer: a worker was killed, perhaps for lack of memory; {GOES_ON}")
    assert predict(folder, out).code == 0


def test_several_processes_give_the_same(predict: Predict, folder: Path, tmp_path: Path) -> None:
    assert predict(folder, tmp_path / "one.csv").code == 0
    assert predict(folder, tmp_path / "three.csv", "--workers", 3).code == 0
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "three.csv").read_bytes()


@pytest.fixture
def journal(folder: Path, tmp_path: Path) -> bytes:
    """The journal of a killed run."""
    with interrupted(folder, tmp_path / "out.jsonl", 10) as process:
        process.kill()
    return journal_of(tmp_path / "out.jsonl").read_bytes()


def test_a_damaged_journal_costs_only_the_damaged_line_and_what_follows(tmp_path: Path) -> None:
    header, path = {"images": "/archive"}, tmp_path / "out.csv.part"
    entries = [Entry(path=f"{number}.png", detail="é\n", model="", variant="", model_sha256="") for number in range(5)]
    with open_journal(path, header) as journal:
        for entry in entries:
            journal.add(entry)
    lines = path.read_bytes().splitlines(keepends=True)
    four = b"".join(lines[:4])
    for damaged, kept in (
        (b"", 0),
        (lines[0][:9], 0),
        (lines[0], 0),
        (four + lines[4][:-1], 3),
        (four + lines[4][:30], 3),
        (four + bytes(500) + b"\n" + lines[5], 3),
        (four + b"\xff\xfe\n" + lines[5], 3),
        (four + b"".join(lines[1:4]), 3),
    ):
        path.write_bytes(damaged)
        with open_journal(path, header) as journal:
            assert len(journal.finished) == kept
            for entry in entries[kept:]:
                journal.add(entry)
        with open_journal(path, header) as journal:
            assert list(journal.entries(entry.path for entry in entries)) == entries


def test_the_journal_of_another_run_is_refused_and_left_alone(
    predict: Predict, folder: Path, tmp_path: Path, journal: bytes
) -> None:
    out = tmp_path / "out.jsonl"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/a.png").write_bytes(encode(grey(64, 64)))
    for done, difference in (
        (predict(folder, out, MEDXFER_VARIANT="fp32"), "variant"),
        (predict(tmp_path / "other", out), "images"),
        (predict(folder, out, MEDXFER_MODEL=str(model_with_another_threshold(tmp_path))), "description_sha256"),
    ):
        assert done.code == 2
        assert done.stderr.startswith(f"medxfer: {journal_of(out)}: was begun with {difference} ")
        assert journal_of(out).read_bytes() == journal
    journal_of(out).write_bytes(b"mine")
    assert "is not a journal of this command" in predict(folder, out).stderr
    assert journal_of(out).read_bytes() == b"mine"


def model_with_another_threshold(tmp_path: Path) -> Path:
    model = Path(shutil.copytree(DEFAULT_MODEL, tmp_path / "model"))
    description = json.loads((model / "model.json").read_bytes())
    description["thresholds"]["screening"] /= 2
    (model / "model.json").write_text(json.dumps(description))
    write_sums(model, ["model.json", *(variant["file"] for variant in description["variants"].values())])
    return model


def test_files_that_changed_came_or_went_meanwhile_are_in_the_results_as_they_are_now(
    predict: Predict, folder: Path, tmp_path: Path, journal: bytes
) -> None:
    (folder / "00.png").write_bytes(encode(grey(300, 260, 99)))
    (folder / "01.png").unlink()
    (folder / "new.png").write_bytes(b"no image")
    assert predict(folder, tmp_path / "out.jsonl").code == 1
    predict(folder, tmp_path / "anew.jsonl")
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "anew.jsonl").read_bytes()


def test_a_file_that_could_not_be_read_is_tried_again(predict: Predict, folder: Path, tmp_path: Path) -> None:
    (folder / "00.png").unlink()
    (folder / "00.png").symlink_to("missing.bin")
    with interrupted(folder, tmp_path / "out.jsonl", 10) as process:
        process.kill()
    (folder / "missing.bin").write_bytes(encode(grey(300, 260)))
    assert predict(folder, tmp_path / "out.jsonl").code == 0


def test_two_runs_do_not_write_the_same_results(tmp_path: Path) -> None:
    with open_journal(tmp_path / "out.csv.part", {}), pytest.raises(ArchiveError, match="another run is writing it"):
        open_journal(tmp_path / "out.csv.part", {}).__enter__()


def test_a_journal_that_is_not_a_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.csv.part")
    with pytest.raises(ArchiveError, match="is not a regular file"):
        open_journal(tmp_path / "out.csv.part", {}).__enter__()


def test_a_full_disk_ends_the_run_with_a_reason_and_it_resumes_once_there_is_room(
    predict: Predict, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    limit = f"ulimit -f 5; exec {shlex.join(command(folder, out))}"  # 5 KiB in a file, as if the disk had no more
    limited = subprocess.run(["bash", "-c", limit], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (limited.returncode, limited.stderr) == (2, f"medxfer: {journal_of(out)}: File too large\n")
    assert not out.exists()
    assert predict(folder, out).code == 0
    assert len(read(out)) == 40


def test_an_archive_that_goes_away_meanwhile_gives_no_results(predict: Predict, folder: Path, tmp_path: Path) -> None:
    out, away = tmp_path / "out.csv", tmp_path / "away"
    with interrupted(folder, out, 5) as process:
        folder.rename(away)
        _, errors = process.communicate(timeout=30)
        away.rename(folder)
    assert process.returncode == 2
    assert "has gone meanwhile" in errors
    assert not out.exists()
    assert predict(folder, out).code == 0


def test_a_missing_cluster_is_reported_at_once(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is an extra, and is not installed here")
    environment = {**ENVIRONMENT, "RAY_ADDRESS": f"127.0.0.1:{free_port()}"}
    line = command(folder, tmp_path / "out.csv", "--engine", "ray")
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"medxfer: RAY_ADDRESS={environment['RAY_ADDRESS']}: cannot connect: ")
    assert "Connection refused" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]
