import csv
import hashlib
import os
import subprocess
import termios
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image
from pyarrow import parquet

from service.archive import run
from service.archive.entries import MAX_BYTES
from tests.conftest import ROOT, dicom_of, encode, grey
from tests.service.archive.conftest import ENVIRONMENT, Predict, command, fill, read

COLUMNS = [
    *("path", "bytes", "sha256", "label", "confidence", "probability_NORMAL", "probability_PNEUMONIA", "uncertain"),
    *("abstain", "reasons", "novelty", "novelty_level", "warnings", "problem", "detail", "model", "variant", "model_sha256"),
]
IMAGES = {
    "a.jpeg": encode(grey(1300, 1000), "JPEG"),
    "b/c": dicom_of(grey(400, 300, 2), PatientAge="050Y", BodyPartExamined="FOOT"),
    "d.png": encode(Image.new("L", (300, 200), 7)),
    "e.jpg": b"no image",
    "f.png": encode(grey(300, 260))[:10_000],
    "g.png": encode(Image.new("L", (20, 20))),
}


def fields(answer: dict[str, Any]) -> dict[str, object]:  # Any: of JSON
    if "type" in answer:
        return {"problem": answer["type"], "detail": answer["detail"]}
    found = {name: answer[name] for name in ("label", "confidence", "uncertain", "abstain", "reasons", "warnings")}
    found |= {f"probability_{label}": value for label, value in answer["probabilities"].items()}
    return found | {"novelty": answer["novelty"]["value"], "novelty_level": answer["novelty"]["level"]}


def test_every_file_gets_a_row_with_the_bits_of_an_answer_or_problem(predict: Predict, client: httpx.Client, out: Path) -> None:
    folder = fill(out.with_name("in"), IMAGES)
    os.mkfifo(folder / "w.png")
    (folder / "x.png").symlink_to("nowhere")
    with (folder / "y.dcm").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    done, rows = predict(folder, out), read(out)
    assert done.returncode == 1
    assert "Not a medical device" in done.stdout
    assert "9 rows, 6 of them refused" in done.stdout
    assert "e.jpg: the content is neither JPEG nor PNG nor DICOM" in done.stderr
    answers = [client.post("/predict", content=data).json() for data in IMAGES.values()]
    model = answers[0]["model"]
    always = {"model": model["name"], "variant": model["variant"], "model_sha256": model["sha256"]}
    for row, (name, data), answer in zip(rows, IMAGES.items(), answers, strict=False):
        file_fields = {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        assert row == dict.fromkeys(COLUMNS) | file_fields | fields(answer) | always
        assert list(row) == COLUMNS
    for row, reason in zip(rows[6:], ["not a regular file", "No such file", f"at most {MAX_BYTES:,} are read"], strict=True):
        assert row["problem"] == "urn:medxfer:problem:unreadable-file"
        assert reason in row["detail"]


def test_all_formats_hold_the_same_also_for_odd_names(predict: Predict, tmp_path: Path) -> None:
    odd = [b"-a b.png", b"new\nline.png", b"a\rb.png", "ü,\"'.png".encode(), b"\xff\xfe\x1b[2J.png", rb"\xff.png", b"=1.png"]
    shown = ["-a b.png", "new\nline.png", "a\rb.png", "ü,\"'.png", "\\xff\\xfe\x1b[2J.png", r"\\xff.png", "=1.png"]
    files = {os.fsdecode(name): b"no image" for name in odd}
    folder = fill(tmp_path / "in", {**files, "long.png": encode(grey(300, 100)), "good.png": encode(grey(300, 260))})
    for suffix in ("csv", "jsonl", "parquet"):
        done = predict(folder, tmp_path / f"out.{suffix}")
        assert (done.returncode, "\x1b" in done.stderr) == (1, False)
    rows, table = read(tmp_path / "out.jsonl"), parquet.read_table(tmp_path / "out.parquet")
    assert [row["path"] for row in rows] == sorted([*shown, "long.png", "good.png"])
    assert table.to_pylist() == rows
    assert b"Not a medical device" in table.schema.metadata[b"disclaimer"]
    with (tmp_path / "out.csv").open(newline="", encoding="utf-8") as file:
        assert list(csv.DictReader(file)) == [{name: as_csv(value) for name, value in row.items()} for row in rows]


def as_csv(value: object) -> str:
    if value is None:
        return ""
    text = " | ".join(value) if isinstance(value, list) else str(value).lower() if isinstance(value, bool) else str(value)
    return f"'{text}" if text[:1] in "=-+@" and isinstance(value, str) else text  # else a spreadsheet would run it


def test_a_run_that_cannot_begin_says_why_and_leaves_nothing(predict: Predict, folder: Path, out: Path, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("mine")
    (tmp_path / "dir.csv").mkdir()
    option = f"medxfer: --out {tmp_path}"
    for done, reason in (
        (predict(folder, tmp_path / "out.xlsx"), f"{option}/out.xlsx: its name must end with .csv, .jsonl, .parquet"),
        (predict(folder, tmp_path / "there.csv"), f"{option}/there.csv: is there already"),
        (predict(folder, tmp_path / "dir.csv"), f"{option}/dir.csv: is a folder"),
        (predict(folder, tmp_path / "no/out.csv"), f"{option}/no/out.csv: nothing can be written"),
        (predict(folder, tmp_path / "there.csv/out.csv"), f"{option}/there.csv/out.csv: nothing can be written"),
        (predict(tmp_path / "none", out), "no such file or folder"),
        (predict(folder, out, MEDXFER_MODEL="nowhere"), "no such folder"),
        (predict(folder, out, "--workers", 0), "must be a number from 1"),
    ):
        assert (done.returncode, done.stdout, "Traceback" in done.stderr) == (2, "", False)
        assert reason in done.stderr
    assert (tmp_path / "there.csv").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "dir.csv", "there.csv"}


def test_a_terminal_shows_a_bar_and_the_refused_files_above_it(folder: Path, out: Path) -> None:
    (folder / "00.png").write_bytes(b"no image")
    terminal, end = os.openpty()
    termios.tcsetwinsize(end, (24, 100))
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        subprocess.run(command(folder, out), cwd=ROOT, env=ENVIRONMENT, stderr=end, check=False)
        os.close(end)
        shown = screen.read(65_536).decode()
    for words in ("00.png: the content is neither JPEG nor PNG nor DICOM", "40/40", "1 refused"):
        assert words in shown


def test_a_log_gets_progress_and_few_names(predict: Predict, folder: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "LINE_SECONDS", 0)
    done = predict(fill(folder, {path.name: b"no image" for path in folder.iterdir()}), out)
    assert "39 of 40 files, 39 refused, " in done.stderr
    assert len(done.stderr.splitlines()) == run.MAX_NAMED + 1 + 40
    assert "40 × urn:medxfer:problem:unsupported-image" in done.stdout


def test_the_last_line_counts_what_was_passed_over_by_suffix(predict: Predict, tmp_path: Path, out: Path) -> None:
    rest = ["a.tif", "sub/b.TIF", *(f"c.{suffix}" for suffix in ("pdf", "xml", "csv", "json", "db", "webp"))]
    folder = fill(tmp_path / "in", {"a.png": IMAGES["d.png"]} | dict.fromkeys([*rest, "c.txt", "d.txt", "e.txt"], b"x"))
    *_, row, last = predict(folder, out).stdout.splitlines()
    assert ": 1 rows, 0 of them refused" in row
    assert last.startswith("11 files were passed over: 3 × .txt, 2 × .tif, 1 × .")
    assert all(f"1 × .{suffix}" in last for suffix in ("csv", "db", "json", "pdf", "webp", "xml"))
