import os
from pathlib import Path

import pytest

from tests.conftest import dicom_of, encode, grey
from training.data import layouts, manifest
from training.data.manifest import DataError

IMAGE = encode(grey(64, 64))


def write(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, {"train/NORMAL/a.png": IMAGE, "train/PNEUMONIA/b.png": IMAGE})
    return tmp_path


def test_a_bad_file_is_recorded_with_its_problem(folder: Path) -> None:
    write(folder, {"train/NORMAL/cut.png": IMAGE[:-40], "train/NORMAL/text.jpeg": b"hello"})
    os.mkfifo(folder / "train/NORMAL/pipe.jpeg")
    problems = {record.path.rpartition("/")[2]: record.problem for record in layouts.scan(folder) if record.problem}
    assert problems.pop("cut.png").startswith("the image is damaged")
    assert problems.pop("text.jpeg").startswith("the content is neither")
    assert problems == {"pipe.jpeg": "not a file"}


def test_folders_of_other_programs_are_no_labels(folder: Path) -> None:
    write(folder, {"train/.ipynb_checkpoints/x.png": IMAGE, "train/__MACOSX/x.png": IMAGE})
    assert {record.label for record in layouts.scan(folder)} == {"NORMAL", "PNEUMONIA"}


def test_a_name_that_is_not_utf_8_is_refused(folder: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(folder / "train/NORMAL") + b"/\xff.jpeg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(DataError, match=r"xff\.jpeg': the name is not UTF-8"):
        layouts.scan(folder)


def test_dicom_files_are_images_too(tmp_path: Path) -> None:
    write(tmp_path, {path: dicom_of(grey(1000, 900)) for path in ("train/NORMAL/a.dcm", "train/PNEUMONIA/b.DICOM")})
    records = layouts.scan(tmp_path)
    assert [(record.problem, record.width, record.height) for record in records] == [("", 1000, 900)] * 2
    assert manifest.read_image(tmp_path, records[0]).shape == (450, 500)
    assert layouts.count_other_files(tmp_path) == {}


def test_labelled_images_must_be_readable(tmp_path: Path) -> None:
    write(tmp_path, {"NORMAL/a.png": IMAGE, "PNEUMONIA/b.png": encode(grey(64, 64, seed=1))})
    assert [record.path for record in layouts.scan_labelled(tmp_path)] == ["NORMAL/a.png", "PNEUMONIA/b.png"]
    write(tmp_path, {"NORMAL/text.jpeg": b"hello"})
    with pytest.raises(DataError, match=r"NORMAL/text\.jpeg: the content is neither"):
        layouts.scan_labelled(tmp_path)


@pytest.mark.parametrize(("labels", "reason"), [("", "no folder «train»"), ("A", "found 1"), ("ABC", "found 3")])
def test_another_layout_is_refused(tmp_path: Path, labels: str, reason: str) -> None:
    write(tmp_path, {f"train/{label}/x.png": IMAGE for label in labels})
    with pytest.raises(DataError, match=reason):
        layouts.scan(tmp_path)
