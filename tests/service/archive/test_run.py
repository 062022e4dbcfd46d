"""`python -m service predict`: what it reads, writes and prints."""

import csv
import os
import subprocess
import termios
from pathlib import Path

import httpx
import pytest
from PIL import Image
from pyarrow import parquet

from service.archive import run
from service.archive.entries import MAX_BYTES
from tests.conftest import ROOT, dicom_of, encode, grey
from tests.service.archive.conftest import ENVIRONMENT, Predict, command, read

COLUMNS = [
    *("path", "bytes", "sha256", "label", "confidence", "probability_NORMAL", "probability_PNEUMONIA", "uncertain"),
    *("novelty", "novelty_level", "warnings", "problem", "detail", "model", "variant", "model_sha256"),
]


def test_a_row_has_the_bits_of_the_services_answer(predict: Predict, client: httpx.Client, tmp_path: Path) -> None:
    images = {
        "a.jpeg": encode(grey(1300, 1000), "JPEG"),
        "b/c.png": encode(grey(640, 500, 1)),
        "b/d": dicom_of(grey(400, 300, 2), PatientAge="050Y", BodyPartExamined="FOOT"),
        "e.png": encode(Image.new("L", (300, 200), 7)),
    }
    (tmp_path / "in/b").mkdir(parents=True)
    for name, data in images.items():
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
    for name, data in {**bad, "h.png": good}.items():
        (folder / name).write_bytes(data)
    os.mkfifo(folder / "e.png")
    (folder / "f.png").symlink_to("nowhere")
    with (folder / "g.dcm").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
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
    for row, reason in zip(refused[4:], ["not a regular file", "No such file", f"at most {MAX_BYTES:,} are read"], strict=True):
        assert reason in row["detail"]


def test_all_formats_hold_the_same(predict: Predict, folder: Path, tmp_path: Path) -> None:
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


def test_odd_names_survive_in_every_format(predict: Predict, tmp_path: Path) -> None:
    names = [
        b"-a b.png",
        b"new\nline.png",
        b"a\rb.png",
        "ü,\"'.png".encode(),
        b"\xff\xfe\x1b[2J.png",
        rb"\xff.png",
        b"=1+1.png",
    ]
    (tmp_path / "in").mkdir()
    for name in names:
        (tmp_path / "in" / os.fsdecode(name)).touch()
    for suffix in ("csv", "jsonl", "parquet"):
        done = predict(tmp_path / "in", tmp_path / f"out.{suffix}")
        assert done.code == 1
        assert "\x1b" not in done.stderr
    paths = [row["path"] for row in read(tmp_path / "out.jsonl")]
    assert paths == sorted(
        ["-a b.png", "new\nline.png", "a\rb.png", "ü,\"'.png", "\\xff\\xfe\x1b[2J.png", r"\\xff.png", "=1+1.png"]
    )
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert [row["path"] for row in csv.DictReader(file)] == paths
    assert parquet.read_table(tmp_path / "out.parquet")["path"].to_pylist() == paths


@pytest.mark.parametrize(
    ("name", "reason"),
    [("out.xlsx", ".csv, .jsonl, .parquet"), ("out", ".csv"), ("there.csv", "is there already"), ("dir.csv", "is a folder"),
     ("no/out.csv", "nothing can be written"), ("there.csv/out.csv", "nothing can be written")],
)  # fmt: skip
def test_results_that_cannot_be_written_are_refused_before_anything_is_read(
    predict: Predict, tmp_path: Path, folder: Path, name: str, reason: str
) -> None:
    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "dir.csv").mkdir()
    done = predict(folder, tmp_path / name)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"medxfer: --out {tmp_path / name}: ")
    assert reason in done.stderr
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert not list(tmp_path.rglob("*.part"))


def test_a_run_that_cannot_begin_gives_the_reason_and_leaves_nothing(predict: Predict, tmp_path: Path, folder: Path) -> None:
    out = tmp_path / "out.csv"
    for done, reason in (
        (predict(tmp_path / "none", out), "no such file or folder"),
        (predict(folder / "*.gif", out), "no images in there"),
        (predict(folder, out, MEDXFER_MODEL="nowhere"), "no such folder"),
        (predict(folder, out, MEDXFER_VARIANT="int4"), "has no variant"),
        (predict(folder, out, "--workers", 0), "must be a number from 1"),
        (predict(folder, out, "--engine", "spark"), "invalid choice"),
    ):
        assert done.code == 2
        assert reason in done.stderr
        assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_a_terminal_shows_a_bar_and_the_refused_files_above_it(folder: Path, tmp_path: Path) -> None:
    (folder / "00.png").write_bytes(b"no image")
    terminal, end = os.openpty()
    termios.tcsetwinsize(end, (24, 100))
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        subprocess.run(command(folder, tmp_path / "out.csv"), cwd=ROOT, env=ENVIRONMENT, stderr=end, check=False)
        os.close(end)
        shown = screen.read(65_536).decode()
    assert "00.png: the content is neither JPEG nor PNG nor DICOM" in shown
    assert "40/40" in shown
    assert "1 refused" in shown


def test_a_log_gets_lines_of_progress(predict: Predict, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LINE_SECONDS", 0)
    assert "39 of 40 files, 0 refused, " in predict(folder, tmp_path / "out.csv").stderr


def test_many_refused_files_do_not_flood_the_terminal(predict: Predict, folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        path.write_bytes(b"no image")
    done = predict(folder, tmp_path / "out.csv")
    assert "40 × urn:medxfer:problem:unsupported-image" in done.stdout
    assert len(done.stderr.splitlines()) == run.MAX_NAMED + 1
