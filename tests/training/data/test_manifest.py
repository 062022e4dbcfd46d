import os
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import dicom_of, encode, grey
from training.config import Data
from training.data import manifest, phantoms, splits
from training.data.manifest import DataError, Record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    phantoms.write_data_set(folder, 80)
    return folder


@pytest.fixture(scope="module")
def records(folder: Path) -> list[Record]:
    return manifest.scan(folder)


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
    assert manifest.identify(name, "NORMAL") == expected


def test_a_manifest_reads_back(records: list[Record], tmp_path: Path) -> None:
    cut = splits.split(records, Data(), seed=0)
    manifest.write_table(cut, tmp_path / "manifest.csv")
    assert manifest.read_manifest(tmp_path / "manifest.csv") == cut


def test_a_bad_file_is_recorded_with_what_is_wrong(tmp_path: Path) -> None:
    phantoms.write_data_set(tmp_path, 4)
    whole = encode(grey(100, 100))
    (tmp_path / "train/NORMAL/cut.png").write_bytes(whole[:-40])
    (tmp_path / "train/NORMAL/text.jpeg").write_bytes(b"hello")
    problems = {record.path: record.problem for record in manifest.scan(tmp_path) if record.problem}
    assert problems["train/NORMAL/cut.png"].startswith("the image is damaged")
    assert problems["train/NORMAL/text.jpeg"].startswith("the content is neither")
    assert len(problems) == 2


def test_what_other_programs_leave_is_no_label_and_a_pipe_is_no_image(tmp_path: Path) -> None:
    phantoms.write_data_set(tmp_path, 4)
    for name in (".ipynb_checkpoints", "__MACOSX"):
        (tmp_path / "train" / name).mkdir()
        (tmp_path / "train" / name / "x.png").write_bytes(encode(grey(64, 64)))
    os.mkfifo(tmp_path / "train/NORMAL/pipe.jpeg")
    records = manifest.scan(tmp_path)
    assert {record.label for record in records} == {"NORMAL", "PNEUMONIA"}
    assert [record.path for record in records if record.problem == "not a file"] == ["train/NORMAL/pipe.jpeg"]


def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    phantoms.write_data_set(tmp_path, 4)
    try:
        Path(os.fsdecode(os.fsencode(tmp_path / "train/NORMAL") + b"/\xff.jpeg")).write_bytes(b"")
    except OSError:
        pytest.skip("this file system takes no such name")
    with pytest.raises(DataError, match=r"xff\.jpeg': the name is not UTF-8"):
        manifest.scan(tmp_path)


def test_dicom_files_are_images_too(tmp_path: Path) -> None:
    for label, name in (("NORMAL", "a.dcm"), ("PNEUMONIA", "b.DICOM")):
        (tmp_path / "train" / label).mkdir(parents=True)
        (tmp_path / "train" / label / name).write_bytes(dicom_of(grey(1000, 900, seed=len(label))))
    records = manifest.scan(tmp_path)
    assert [(record.problem, record.width, record.height) for record in records] == [("", 1000, 900)] * 2
    assert manifest.read_image(tmp_path, records[0]).shape == (450, 500)
    assert manifest.other_files(tmp_path) == {}


def test_an_image_that_has_changed_since_the_audit_is_not_read(tmp_path: Path) -> None:
    phantoms.write_data_set(tmp_path, 4)
    record = manifest.scan(tmp_path)[0]
    assert manifest.read_image(tmp_path, record).shape == (record.height, record.width)
    (tmp_path / record.path).write_bytes(encode(grey(100, 100)))
    with pytest.raises(DataError, match="not the image that was there when the run began"):
        manifest.read_image(tmp_path, record)


def test_labelled_images_for_a_model_that_is_there_must_be_readable(tmp_path: Path) -> None:
    phantoms.write_data_set(tmp_path, 4)
    assert len(manifest.scan_labelled(tmp_path / "train")) == 4
    (tmp_path / "train/NORMAL/text.jpeg").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"NORMAL/text\.jpeg: the content is neither"):
        manifest.scan_labelled(tmp_path / "train")


@pytest.mark.parametrize(
    ("labels", "reason"), [([], "no folder «train»"), (["NORMAL"], "found 1"), (["A", "B", "C"], "found 3")]
)
def test_another_layout_is_refused(tmp_path: Path, labels: list[str], reason: str) -> None:
    for label in labels:
        (tmp_path / "train" / label).mkdir(parents=True)
        (tmp_path / "train" / label / "x.png").write_bytes(encode(grey(64, 64)))
    with pytest.raises(DataError, match=reason):
        manifest.scan(tmp_path)


def test_a_positive_label_that_is_none_is_refused(records: list[Record]) -> None:
    with pytest.raises(DataError, match=r"«SICK».*NORMAL.*PNEUMONIA"):
        manifest.label_names(records, "SICK")


def test_phantoms_are_the_same_for_the_same_seed() -> None:
    first, again, other = (phantoms.draw(np.random.default_rng(seed), sick=True) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_phantoms_vary_in_size_and_contrast(records: list[Record]) -> None:
    assert len({(record.width, record.height) for record in records}) > 70
