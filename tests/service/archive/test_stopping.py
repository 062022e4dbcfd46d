import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from subprocess import Popen
from typing import Any
from unittest.mock import Mock

import psutil
import pytest

from service.archive.entries import Entry
from service.archive.journal import open_journal
from service.errors import ArchiveError
from service.model.artefact import write_sums
from tests.benchmarks import processes
from tests.conftest import DEFAULT_MODEL, ROOT, encode, free_port, grey
from tests.service.archive.conftest import ENVIRONMENT, Predict, command, fill, interrupted, journal_of, read


def workers_of(process: "Popen[str]") -> list[psutil.Process]:
    """Without multiprocessing's resource tracker."""
    workers = []
    for child in processes.tree(process.pid):
        with contextlib.suppress(psutil.NoSuchProcess):  # it has just ended
            if any("spawn_main" in word for word in child.cmdline()):
                workers.append(child)
    return workers


def interrupt(process: "Popen[str]") -> None:
    os.killpg(process.pid, signal.SIGINT)


def interrupt_twice(process: "Popen[str]") -> None:
    interrupt(process)
    while len(workers_of(process)) == 2:  # until the first one takes effect
        time.sleep(0.01)
    interrupt(process)


def kill_the_busiest_worker(process: "Popen[str]") -> None:
    max(workers_of(process), key=lambda worker: worker.cpu_times().user).kill()


@pytest.mark.parametrize(
    ("stop", "workers", "lines", "code", "reason", "answered"),
    [
        (Popen.kill, 1, 41, -signal.SIGKILL, "", "40"),
        (Popen.kill, 2, 33, -signal.SIGKILL, "", "32"),
        (interrupt, 1, 5, 130, "interrupted", "[0-9]+"),
        (interrupt, 2, 33, 130, "interrupted", "[0-9]+"),
        (interrupt_twice, 2, 33, 130, "interrupted", "[0-9]+"),
        (kill_the_busiest_worker, 2, 33, 2, "a worker was killed, perhaps for lack of memory", "[0-9]+"),
    ],
)
def test_a_stopped_run_ends_all_processes_with_one_line_and_resumes_to_the_same_results(
    predict: Predict, folder: Path, out: Path, stop: Any, workers: int, lines: int, code: int, reason: str, answered: str
) -> None:  # Any: a function of a process
    with interrupted(folder, out, lines, "--workers", workers) as process:
        assert len(workers_of(process)) == (workers if workers > 1 else 0)
        stop(process)
        _, errors = process.communicate(timeout=30)  # waits until no process is left that holds the pipe
    assert (process.returncode, out.exists()) == (code, False)
    assert stop is Popen.kill or errors == f"medxfer: {reason}; the same command goes on from here\n"
    resumed, whole = predict(folder, out), out.with_name("whole.jsonl")
    assert re.search(f"40 files, {answered} answered before", resumed.stdout)
    assert (resumed.returncode, predict(folder, whole, "--workers", workers).returncode) == (0, 0)
    assert out.read_bytes() == whole.read_bytes()
    assert {path.name for path in out.parent.iterdir()} == {"archive", "out.jsonl", "whole.jsonl"}


def test_a_broken_pool_keeps_ctrl_c_working(predict: Predict, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ProcessPoolExecutor, "submit", Mock(side_effect=BrokenProcessPool))
    assert predict(folder, out, "--workers", 2).returncode == 2
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_damaged_journal_costs_only_the_damaged_line_and_what_follows(tmp_path: Path) -> None:
    path = tmp_path / "out.csv.part"
    entries = [Entry(path=f"{number}.png", detail="é\n", model="", variant="", model_sha256="") for number in range(5)]
    with open_journal(path, {"images": "/archive"}) as journal:
        for entry in entries:
            journal.add(entry)
    header, *lines = path.read_bytes().splitlines(keepends=True)
    three = header + b"".join(lines[:3])
    ends = [lines[3][:-1], lines[3][:30], bytes(500) + b"\n" + lines[4], b"\xff\xfe\n" + lines[4], b"".join(lines[:3])]
    for damaged, kept in [(b"", 0), (header[:9], 0), (header, 0), *((three + end, 3) for end in ends)]:
        path.write_bytes(damaged)
        with open_journal(path, {"images": "/archive"}) as journal:
            assert len(journal.finished) == kept
            for entry in entries[kept:]:
                journal.add(entry)
        with open_journal(path, {"images": "/archive"}) as journal:
            assert list(journal.entries(entry.path for entry in entries)) == entries


def test_the_journal_of_another_run_is_refused_and_left_alone(predict: Predict, folder: Path, out: Path) -> None:
    with interrupted(folder, out, 10):
        pass
    journal = journal_of(out).read_bytes()
    model = Path(shutil.copytree(DEFAULT_MODEL, out.with_name("model")))
    description = (model / "model.json").read_bytes()
    (model / "model.json").write_bytes(description + b"\n")
    write_sums(model, ["model.json", "model.onnx", "model.int8.onnx"])
    for done, difference in (
        (predict(fill(out.with_name("other"), {"a.png": b""}), out), "images"),
        (predict(folder, out, MEDXFER_MODEL=str(model)), "description_sha256"),
    ):
        assert done.returncode == 2
        assert done.stderr.startswith(f"medxfer: {journal_of(out)}: was begun with {difference} ")
        assert journal_of(out).read_bytes() == journal
    journal_of(out).write_bytes(re.sub(rb'"variant":"\w+"', b'"variant":"fp16"', journal, count=1))
    assert "was begun with variant 'fp16', which is" in predict(folder, out).stderr
    journal_of(out).write_bytes(b"mine")
    assert "is not a journal of this command" in predict(folder, out).stderr
    assert journal_of(out).read_bytes() == b"mine"


def test_files_that_changed_came_went_or_were_unreadable_are_read_again(predict: Predict, folder: Path, out: Path) -> None:
    (folder / "02.png").unlink()
    (folder / "02.png").symlink_to("missing.bin")
    with interrupted(folder, out, 10):
        pass
    (folder / "01.png").unlink()
    now = {"missing.bin": encode(grey(300, 260)), "00.png": encode(grey(300, 260, 99)), "new.png": b"no image"}
    assert predict(fill(folder, now), out).returncode == 1
    predict(folder, out.with_name("anew.jsonl"))
    assert out.read_bytes() == out.with_name("anew.jsonl").read_bytes()


def test_a_journal_that_another_run_writes_or_that_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with open_journal(tmp_path / "out.csv.part", {}):
        for name, reason in (("out.csv.part", "another run is writing it"), ("pipe", "is not a regular file")):
            with pytest.raises(ArchiveError, match=reason):
                open_journal(tmp_path / name, {}).__enter__()


def test_a_run_that_fills_the_disk_ends_with_a_reason_and_resumes(predict: Predict, folder: Path, out: Path) -> None:
    limit = f"ulimit -f 5; exec {shlex.join(command(folder, out))}"  # 5 KiB in a file, as if the disk had no more
    limited = subprocess.run(["bash", "-c", limit], cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (limited.returncode, limited.stderr) == (2, f"medxfer: {journal_of(out)}: File too large\n")
    assert not out.exists()
    assert (predict(folder, out).returncode, len(read(out))) == (0, 40)


def test_an_archive_that_goes_away_meanwhile_gives_no_results(predict: Predict, folder: Path, out: Path) -> None:
    with interrupted(folder, out, 5) as process:
        away = folder.rename(folder.with_name("away"))
        _, errors = process.communicate(timeout=30)
        away.rename(folder)
    assert (process.returncode, "has gone meanwhile" in errors, out.exists()) == (2, True, False)
    assert predict(folder, out).returncode == 0


def test_a_missing_cluster_is_reported_at_once(predict: Predict, folder: Path, out: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="Ray is an extra, and is not installed here")
    address = f"127.0.0.1:{free_port()}"
    done = predict(folder, out, "--engine", "ray", RAY_ADDRESS=address)
    assert done.returncode == 2
    assert re.match(f"medxfer: RAY_ADDRESS={address}: cannot connect: .*Connection refused", done.stderr, re.DOTALL)
    assert list(tmp_path.iterdir()) == [folder]
