from collections import defaultdict
from pathlib import Path

import msgspec
import numpy as np
import pytest

from tests.conftest import encode, grey
from training import audit, data, phantom
from training.config import Data
from training.data import DataError, Record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    phantom.write_data_set(folder, 80)
    return folder


@pytest.fixture(scope="module")
def records(folder: Path) -> list[Record]:
    return data.scan(folder)


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
    assert data.identify(name, "NORMAL") == expected


def test_no_patient_and_no_file_is_in_two_splits(records: list[Record]) -> None:
    cut = data.split(records, Data(folds=4), seed=0)
    homes = defaultdict(set)
    for record in cut:
        homes[record.patient].add(record.split)
    assert {record.split for record in cut} == {"train", "val", "shifted", "test"}
    assert all(len(splits) == 1 for splits in homes.values())
    audit.check_leaks(cut)


def test_a_leak_is_fatal(records: list[Record]) -> None:
    cut = data.split(records, Data(folds=4), seed=0)
    patient = next(record.patient for record in cut if record.split == "train")
    leaking = [msgspec.structs.replace(r, patient=patient) if r.split == "val" else r for r in cut]
    with pytest.raises(DataError, match="patient shared"):
        audit.check_leaks(leaking)


def test_the_shifted_validation_is_the_lowest_numbers(records: list[Record]) -> None:
    cut = data.split(records, Data(folds=4, shifted_fraction=0.2), seed=0)
    for series in ("IM", "person"):
        shifted = [r.number for r in cut if r.series == series and r.split == "shifted"]
        others = [r.number for r in cut if r.series == series and r.split != "shifted"]
        assert max(shifted) < min(others)


def test_the_same_seed_cuts_alike_and_another_does_not(records: list[Record]) -> None:
    first, again, other = (data.split(records, Data(), seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_same_bytes_are_used_once(records: list[Record]) -> None:
    twin = msgspec.structs.replace(records[0], path="train/NORMAL/twin.jpeg", patient="twin")
    cut = data.split([*records, twin], Data(), seed=0)
    assert cut[-1].split == "duplicate"


def test_an_official_test_split_stays_whole(records: list[Record]) -> None:
    official = [msgspec.structs.replace(r, official_split="test" if i % 7 == 0 else "train") for i, r in enumerate(records)]
    cut = data.split(official, Data(folds=4), seed=0)
    assert all((r.split == "test") == (r.official_split == "test") for r in cut)


def test_a_manifest_reads_back(records: list[Record], tmp_path: Path) -> None:
    cut = data.split(records, Data(), seed=0)
    data.write_manifest(cut, tmp_path / "manifest.csv")
    assert data.read_manifest(tmp_path / "manifest.csv") == cut


def test_a_bad_file_is_named_with_what_is_wrong(tmp_path: Path) -> None:
    phantom.write_data_set(tmp_path, 4)
    whole = encode(grey(100, 100))
    (tmp_path / "train/NORMAL/cut.png").write_bytes(whole[:-40])
    (tmp_path / "train/NORMAL/text.jpeg").write_bytes(b"hello")
    with pytest.raises(DataError) as refusal:
        data.scan(tmp_path)
    assert "2 images" in str(refusal.value)
    assert "train/NORMAL/cut.png: the image is damaged" in str(refusal.value)
    assert "train/NORMAL/text.jpeg: the content is neither" in str(refusal.value)


@pytest.mark.parametrize(
    ("labels", "reason"), [([], "no folder «train»"), (["NORMAL"], "found 1"), (["A", "B", "C"], "found 3")]
)
def test_another_layout_is_refused(tmp_path: Path, labels: list[str], reason: str) -> None:
    for label in labels:
        (tmp_path / "train" / label).mkdir(parents=True)
        (tmp_path / "train" / label / "x.png").write_bytes(encode(grey(64, 64)))
    with pytest.raises(DataError, match=reason):
        data.scan(tmp_path)


def test_a_positive_label_that_is_none_is_refused(records: list[Record]) -> None:
    with pytest.raises(DataError, match=r"«SICK».*NORMAL.*PNEUMONIA"):
        data.label_names(records, "SICK")


def test_phantoms_are_the_same_for_the_same_seed() -> None:
    first, again, other = (phantom.draw(np.random.default_rng(seed), sick=True) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert first.shape != other.shape or not np.array_equal(first, other)


def test_phantoms_vary_in_size_and_contrast(records: list[Record]) -> None:
    assert len({(record.width, record.height) for record in records}) > 70


def test_too_few_images_are_said_to_be_too_few(records: list[Record]) -> None:
    with pytest.raises(DataError, match=r"12 images of \d+ patients are too few to be cut into data\.folds = 10"):
        data.split(records[:6] + records[-6:], Data(shifted_fraction=0.01), seed=0)
