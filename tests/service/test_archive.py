"""`python -m service predict`: what it writes, and that nothing stops it for good."""

import contextlib
import csv
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import httpx
import pytest
from PIL import Image
from pyarrow import parquet

from service import __main__, archive_progress
from service.archive_rows import MAX_BYTES
from service.artefact import write_sums
from tests.benchmarks import processes
from tests.conftest import DEFAULT_MODEL, ROOT, dicom_of, encode, free_port, grey

Rows: TypeAlias = list[dict[str, Any]]  # Any: of all kinds of columns


class Done(NamedTuple):
    code: object
    stdout: str
    stderr: str


Predict: TypeAlias = Callable[..., Done]

COLUMNS = [
    *("path", "bytes", "sha256", "label", "confidence", "probability_NORMAL", "probability_PNEUMONIA", "uncertain"),
    *("novelty", "novelty_level", "warnings", "problem", "detail", "model", "variant", "model_sha256"),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty images, enough to be stopped at."""
    folder = tmp_path / "archive"
    folder.mkdir()
    for number in range(40):
        (folder / f"{number:02}.png").write_bytes(encode(grey(300, 260, number)))
    return folder


def command(images: object, out: Path, *options: object) -> list[str]:
    """With one worker, that is, without further processes, unless `options` have more."""
    return [
        sys.executable,
        "-m",
        "service",
        "predict",
        str(images),
        "--out",
        str(out),
        "--workers",
        "1",
        *map(str, options),
    ]


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Predict:
    """The command, in this process."""

    def run(images: object, out: Path, *options: object, **settings: str) -> Done:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "argv", command(images, out, *options)[2:])
            for name, value in {"MEDXFER_MODEL": str(DEFAULT_MODEL), **settings}.items():
                patch.setenv(name, value)
            try:
                code: object = __main__.main()
            except SystemExit as end:
                code = end.code
        return Done(code, *capsys.readouterr())

    return run


@contextlib.contextmanager
def begun(images: Path, out: Path, lines: int, *options: object) -> "Iterator[subprocess.Popen[str]]":
    """A process that has written so many lines of its part, and is at a file that takes it a second. Killed at the end, and
    that file removed."""
    slow = images / "zz.png"
    slow.write_bytes(encode(Image.new("RGBA", (6300, 6300)), compress_level=1))
    environment = {**os.environ, "MEDXFER_MODEL": str(DEFAULT_MODEL)}
    process = subprocess.Popen(
        command(images, out, *options),
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # so that a signal can reach all of its processes, as from a terminal
    )
    with process:
        while not part_of(out).exists() or part_of(out).read_bytes().count(b"\n") < lines:
            assert process.poll() is None, process.communicate()
        yield process
        process.kill()
    slow.unlink()


def part_of(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def read(out: Path) -> Rows:
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]


def test_a_row_has_the_bits_of_the_services_answer(predict: Predict, client: httpx.Client, tmp_path: Path) -> None:
    images = {
        "a.jpeg": encode(grey(1300, 1000), "JPEG"),
        "b/c.png": encode(grey(640, 500, 1)),
        "b/d": dicom_of(grey(400, 300, 2), PatientAge="050Y", BodyPartExamined="FOOT"),
        "e.png": encode(Image.new("L", (300, 200), 7)),
    }
    for name, data in images.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    done = predict(tmp_path / "in", tmp_path / "out.jsonl")
    assert done.code == 0, done.stderr
    assert "Not a medical device" in done.stdout
    for row, (name, data) in zip(read(tmp_path / "out.jsonl"), images.items(), strict=True):
        answer = client.post("/predict", content=data).json()
        assert list(row) == COLUMNS
        assert row["path"] == name
        assert {name: row[f"probability_{name}"] for name in answer["probabilities"]} == answer["probabilities"]
        assert all(row[name] == answer[name] for name in ("label", "confidence", "uncertain", "warnings"))
        assert {"value": row["novelty"], "level": row["novelty_level"]} == answer["novelty"]
        assert {"name": row["model"], "variant": row["variant"], "sha256": row["model_sha256"]} == answer["model"]


def test_bad_files_get_a_row_with_the_services_problem_and_stop_nothing(
    predict: Predict, client: httpx.Client, tmp_path: Path
) -> None:
    good, folder = encode(grey(300, 260)), tmp_path / "in"
    folder.mkdir()
    bad = {"a.png": b"", "b.jpg": b"no image", "c.png": good[: len(good) // 2], "d.png": encode(Image.new("L", (20, 20)))}
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    os.mkfifo(folder / "e.png")
    (folder / "f.png").symlink_to("nowhere")
    with (folder / "g.dcm").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    (folder / "h.png").write_bytes(good)
    done = predict(folder, tmp_path / "out.jsonl")
    *refused, last = read(tmp_path / "out.jsonl")
    assert done.code == 1
    assert "8 rows, 7 of them refused" in done.stdout
    assert "b.jpg: the content is neither JPEG nor PNG nor DICOM" in done.stderr
    assert (last["label"], last["problem"]) == (client.post("/predict", content=good).json()["label"], None)
    for row, data in zip(refused, bad.values(), strict=False):
        problem = client.post("/predict", content=data).json()
        assert (row["problem"], row["detail"], row["label"]) == (problem["type"], problem["detail"], None)
    assert [row["problem"] for row in refused[4:]] == ["urn:medxfer:problem:unreadable-file"] * 3
    assert "not a regular file" in refused[4]["detail"]
    assert "No such file" in refused[5]["detail"]
    assert f"at most {MAX_BYTES:,} are read" in refused[6]["detail"]


def test_the_formats_say_the_same(predict: Predict, folder: Path, tmp_path: Path) -> None:
    (folder / "39.png").write_bytes(b"no image")
    Image.fromarray(grey(300, 100)).save(folder / "38.png")
    for suffix in ("csv", "jsonl", "parquet"):
        assert predict(folder, tmp_path / f"out.{suffix}").code == 1
    rows, table = read(tmp_path / "out.jsonl"), parquet.read_table(tmp_path / "out.parquet")
    assert table.to_pylist() == rows
    assert b"Not a medical device" in table.schema.metadata[b"disclaimer"]
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [{name: as_csv(value) for name, value in row.items()} for row in rows]


def as_csv(value: object) -> str:
    if value is None:
        return ""
    return " | ".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)


def test_odd_names_survive(predict: Predict, tmp_path: Path) -> None:
    data = encode(grey(64, 64))
    names = [b"-a b.png", b"new\nline.png", "ü,\"'.png".encode(), b"\xff\xfe.png", rb"\xff.png", b"=1+1.png", b"\x1b[2J.png"]
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / os.fsdecode(name)).write_bytes(data)
    (tmp_path / "in" / os.fsdecode(b"bad\xff\x1b[2J.png")).touch()
    for suffix in ("csv", "jsonl", "parquet"):
        done = predict(tmp_path / "in", tmp_path / f"out.{suffix}")
        assert done.code == 1
        assert "\x1b" not in done.stderr
    paths = [row["path"] for row in read(tmp_path / "out.jsonl")]
    assert paths == sorted(paths)
    assert set(paths) > {"-a b.png", "new\nline.png", "ü,\"'.png", r"\xff\xfe.png", r"\\xff.png", "=1+1.png"}
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert [row["path"] for row in csv.DictReader(file)] == paths
    assert parquet.read_table(tmp_path / "out.parquet")["path"].to_pylist() == paths


@pytest.mark.parametrize(
    ("name", "said"),
    [("out.xlsx", ".csv, .jsonl, .parquet"), ("out", ".csv"), ("there.csv", "is there already"), ("dir.csv", "is a folder"),
     ("no/out.csv", "nothing can be written"), ("there.csv/out.csv", "nothing can be written")],
)  # fmt: skip
def test_a_place_where_nothing_can_be_written_is_refused_before_anything_is_read(
    predict: Predict, tmp_path: Path, folder: Path, name: str, said: str
) -> None:
    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "dir.csv").mkdir()
    done = predict(folder, tmp_path / name)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"medxfer: --out {tmp_path / name}: ")
    assert said in done.stderr
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert not list(tmp_path.rglob("*.part"))


def test_what_cannot_begin_says_why_and_leaves_nothing(predict: Predict, tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "out.csv"
    for done, said in (
        (predict(tmp_path / "none", out), "no such file or folder"),
        (predict(folder / "*.gif", out), "no images in there"),
        (predict(folder, out, MEDXFER_MODEL="nowhere"), "no such folder"),
        (predict(folder, out, MEDXFER_VARIANT="int4"), "has no variant"),
        (predict(folder, out, "--workers", 0), "must be a number from 1"),
        (predict(folder, out, "--engine", "spark"), "invalid choice"),
    ):
        assert done.code == 2
        assert said in done.stderr
        assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive"]


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


def test_a_carriage_return_in_a_name_makes_no_row_of_its_own(predict: Predict, tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "a\rb.png").write_bytes(b"no image")
    predict(tmp_path / "odd", tmp_path / "out.csv")
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert [row["path"] for row in csv.DictReader(file)] == ["a\rb.png"]


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


def test_a_terminal_sees_a_bar_and_the_refused_files_above_it(folder: Path, tmp_path: Path) -> None:
    (folder / "00.png").write_bytes(b"no image")
    terminal, end = os.openpty()
    termios.tcsetwinsize(end, (24, 100))
    environment = {**os.environ, "MEDXFER_MODEL": str(DEFAULT_MODEL)}
    with os.fdopen(terminal, "rb", buffering=0) as seen:
        subprocess.run(command(folder, tmp_path / "out.csv"), cwd=ROOT, env=environment, stderr=end, check=False)
        os.close(end)
        shown = seen.read(65_536).decode()
    assert "00.png: the content is neither JPEG nor PNG nor DICOM" in shown
    assert "40/40" in shown
    assert "1 refused" in shown


def test_an_archive_that_is_read_line_by_line_says_how_far_it_is(
    predict: Predict, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive_progress, "LINE_SECONDS", 0)
    done = predict(folder, tmp_path / "out.csv")
    assert "39 of 40 files, 0 refused, " in done.stderr


def test_hundreds_of_refused_files_do_not_flood_the_terminal(predict: Predict, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for number in range(300):
        (tmp_path / "in" / f"{number:03}.png").write_bytes(b"no image")
    done = predict(tmp_path / "in", tmp_path / "out.csv")
    assert "300 × urn:medxfer:problem:unsupported-image" in done.stdout
    assert len(done.stderr.splitlines()) == archive_progress.MOST_NAMED + 1
