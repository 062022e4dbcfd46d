from collections import defaultdict

import msgspec
import pytest

from training.config import Data
from training.data import manifest, phantoms, splits
from training.data.manifest import DataError, Record


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    folder = tmp_path_factory.mktemp("phantoms")
    phantoms.write_data_set(folder, 80)
    return manifest.scan(folder)


def test_no_patient_and_no_file_is_in_two_splits(records: list[Record]) -> None:
    cut = splits.split(records, Data(folds=4), seed=0)
    homes = defaultdict(set)
    for record in cut:
        homes[record.patient].add(record.split)
    assert {record.split for record in cut} == {"train", "val", "shifted", "test"}
    assert all(len(splits) == 1 for splits in homes.values())
    splits.check_leaks(cut)


def test_a_leak_is_fatal(records: list[Record]) -> None:
    cut = splits.split(records, Data(folds=4), seed=0)
    patient = next(record.patient for record in cut if record.split == "train")
    leaking = [msgspec.structs.replace(r, patient=patient) if r.split == "val" else r for r in cut]
    with pytest.raises(DataError, match="patient shared"):
        splits.check_leaks(leaking)


def test_the_shifted_validation_is_the_lowest_numbers(records: list[Record]) -> None:
    cut = splits.split(records, Data(folds=4, shifted_fraction=0.2), seed=0)
    for series in ("IM", "person"):
        shifted = [r.number for r in cut if r.series == series and r.split == "shifted"]
        others = [r.number for r in cut if r.series == series and r.split != "shifted"]
        assert max(shifted) < min(others)


def test_the_same_seed_cuts_alike_and_another_does_not(records: list[Record]) -> None:
    first, again, other = (splits.split(records, Data(), seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_the_same_bytes_are_used_once(records: list[Record]) -> None:
    twin = msgspec.structs.replace(records[0], path="train/NORMAL/twin.jpeg", patient="twin")
    cut = splits.split([*records, twin], Data(), seed=0)
    assert cut[-1].split == "duplicate"


def test_an_official_test_split_stays_whole(records: list[Record]) -> None:
    official = [msgspec.structs.replace(r, official_split="test" if i % 7 == 0 else "train") for i, r in enumerate(records)]
    cut = splits.split(official, Data(folds=4), seed=0)
    assert all((r.split == "test") == (r.official_split == "test") for r in cut)


def test_too_few_images_are_said_to_be_too_few(records: list[Record]) -> None:
    with pytest.raises(DataError, match=r"12 images of \d+ patients are too few to be cut into data\.folds = 10"):
        splits.split(records[:6] + records[-6:], Data(shifted_fraction=0.01), seed=0)


def of(records: list[Record], split: str) -> set[str]:
    return {record.path for record in records if record.split == split}


def test_the_same_bytes_under_both_labels_are_left_out(records: list[Record]) -> None:
    twin = msgspec.structs.replace(records[0], path="train/PNEUMONIA/twin.jpeg", patient="twin", label="PNEUMONIA")
    cut = splits.split([*records, twin], Data(folds=4), seed=0)
    assert of(cut, "contradictory") == {records[0].path, twin.path}


def test_what_cannot_be_read_is_left_out(records: list[Record]) -> None:
    broken = msgspec.structs.replace(records[3], problem="the image is damaged", width=0, height=0)
    cut = splits.split([*records[:3], broken, *records[4:]], Data(folds=4), seed=0)
    assert of(cut, "unreadable") == {broken.path}


def test_of_two_that_are_the_same_the_official_test_image_stays(records: list[Record]) -> None:
    twin = msgspec.structs.replace(records[0], path="test/NORMAL/twin.jpeg", patient="twin", official_split="test")
    again = msgspec.structs.replace(twin, path="test/NORMAL/again.jpeg")
    sick = msgspec.structs.replace(records[-1], path="test/PNEUMONIA/sick.jpeg", official_split="test", sha256="another")
    cut = splits.split([*records, twin, again, sick], Data(folds=4), seed=0)
    assert of(cut, "test") == {twin.path, again.path, sick.path}
    assert of(cut, "duplicate") == {records[0].path}
    assert [record.path for record in splits.strict_test(cut)] == [twin.path]  # once, and sick's patient stands in train


def test_a_whole_series_can_be_the_shifted_validation(records: list[Record]) -> None:
    odd = {record.path for record in records if record.series == "IM" and record.number % 2}
    second = [msgspec.structs.replace(r, series="NORMAL2-IM", patient=f"{r.number}") if r.path in odd else r for r in records]
    cut = splits.split(second, Data(folds=4, shifted_series="NORMAL2-IM"), seed=0)
    assert {r.split for r in cut if r.series == "NORMAL2-IM"} == {"shifted"}
    assert {r.split for r in cut if r.series == "IM"} >= {"train", "val", "test"}
    with pytest.raises(DataError, match=r"shifted_series = «IM2» is no series here: \['IM', 'person'\]"):
        splits.split(records, Data(shifted_series="IM2"), seed=0)
