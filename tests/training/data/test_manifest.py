"""The manifest: what is found in a data folder, and what its records tell."""

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.conftest import dicom_of, encode, grey
from training.config import Data
from training.data import layouts, manifest, patients, splits
from training.data.manifest import DataError, Record

IMAGE = encode(grey(64, 64))


def write(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def test_bad_files_are_recorded_with_their_problems_and_folders_of_other_programs_are_no_labels(tmp_path: Path) -> None:
    names = ["NORMAL/cut.png", "NORMAL/text.jpeg", "PNEUMONIA/b.png", ".ipynb_checkpoints/x.png", "__MACOSX/x.png"]
    contents = [IMAGE[:-40], b"hello", IMAGE, IMAGE, IMAGE]
    write(tmp_path / "train", dict(zip(names, contents, strict=True)))
    os.mkfifo(tmp_path / "train/NORMAL/pipe.jpeg")
    found = {record.path.removeprefix("train/"): record.problem for record in layouts.scan(tmp_path)}
    assert found.pop("NORMAL/cut.png").startswith("the image is damaged")
    assert found.pop("NORMAL/text.jpeg").startswith("the content is neither")
    assert found == {"NORMAL/pipe.jpeg": "not a file", "PNEUMONIA/b.png": ""}


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"train/NORMAL/a.png": IMAGE, "train/PNEUMONIA/b.png": IMAGE})
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "train/NORMAL") + b"/\xff.jpeg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(DataError, match=r"xff\.jpeg': the name is not UTF-8"):
        layouts.scan(tmp_path)


def test_dicom_files_are_images_too(tmp_path: Path) -> None:
    write(tmp_path, {path: dicom_of(grey(1000, 900)) for path in ("train/NORMAL/a.dcm", "train/PNEUMONIA/b.DICOM")})
    records = layouts.scan(tmp_path)
    assert [(record.problem, record.width, record.height) for record in records] == [("", 1000, 900)] * 2
    assert manifest.read_image(tmp_path, records[0]).shape == (450, 500)
    assert layouts.count_other_files(tmp_path) == {}


def test_labelled_images_must_be_readable(tmp_path: Path) -> None:
    write(tmp_path, {"NORMAL/a.png": IMAGE, "PNEUMONIA/b.png": encode(grey(64, 64, seed=1))})
    assert [record.path for record in layouts.scan_labelled(tmp_path)] == ["NORMAL/a.png", "PNEUMONIA/b.png"]
    (tmp_path / "labels.csv").write_text("file,patient_id,age\nNORMAL/a.png,7,3\nPNEUMONIA/b.png,8,4\n")
    assert [record.patient for record in layouts.scan_labelled(tmp_path)] == ["7", "8"]
    (tmp_path / "labels.csv").write_text("file,patient_id\nNORMAL/a.png,7\n")
    with pytest.raises(DataError, match=r"labels\.csv lacks 'PNEUMONIA/b\.png'.*a line for each image"):
        layouts.scan_labelled(tmp_path)
    (tmp_path / "labels.csv").unlink()
    write(tmp_path, {"NORMAL/text.jpeg": b"hello"})
    with pytest.raises(DataError, match=r"NORMAL/text\.jpeg: the content is neither"):
        layouts.scan_labelled(tmp_path)


@pytest.mark.parametrize(("labels", "reason"), [("", "no folder «train»"), ("A", "found 1"), ("ABC", "found 3")])
def test_another_layout_is_refused(tmp_path: Path, labels: str, reason: str) -> None:
    write(tmp_path, {f"train/{label}/x.png": IMAGE for label in labels})
    with pytest.raises(DataError, match=reason):
        layouts.scan(tmp_path)


def test_a_manifest_reads_back(records: list[Record], tmp_path: Path) -> None:
    cut = splits.split(records, Data(), seed=0)
    manifest.write_table(cut, tmp_path / "manifest.csv")
    assert manifest.read_manifest(tmp_path / "manifest.csv") == cut


def test_an_image_that_has_changed_since_the_audit_is_not_read(folder: Path, records: list[Record]) -> None:
    assert manifest.read_image(folder, records[0]).shape == (records[0].height, records[0].width)
    with pytest.raises(DataError, match="not the image that was there when the run began"):
        manifest.read_image(folder, replace(records[0], path=records[1].path))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IM-0115-0001.jpeg", ("IM", 115, "", "IM-115")),
        ("IM-0543-0001-0002.jpeg", ("IM", 543, "", "IM-543")),
        ("NORMAL2-IM-0115-0001.jpeg", ("NORMAL2-IM", 115, "", "NORMAL2-IM-115")),
        ("person1000_virus_1681.jpeg", ("person", 1000, "virus", "person1000")),
        ("person1000_bacteria_2931.jpeg", ("person", 1000, "bacteria", "person1000")),
        ("anything.png", ("NORMAL", 0, "", "NORMAL/anything.png")),
    ],
)
def test_the_patient_is_read_from_the_name(name: str, expected: tuple[str, int, str, str]) -> None:
    identity = patients.read_name(name, "NORMAL")
    assert identity == expected and patients.is_unknown(identity.patient) == (name == "anything.png")
