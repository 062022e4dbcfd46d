from collections import defaultdict

import pytest
from msgspec.structs import replace

from training.config import Data
from training.data import splits
from training.data.manifest import DataError, Record


def paths(records: list[Record], split: str) -> set[str]:
    return {record.path for record in records if record.split == split}


def test_no_patient_and_no_file_is_in_two_splits(records: list[Record]) -> None:
    cut = splits.split(records, Data(folds=4), seed=0)
    by_patient = defaultdict(set)
    for record in cut:
        by_patient[record.patient].add(record.split)
    assert {record.split for record in cut} == {"train", "val", "shifted", "test"}
    assert all(len(splits) == 1 for splits in by_patient.values())
    splits.check_leaks(cut)


def test_a_leak_is_fatal(records: list[Record]) -> None:
    cut = splits.split(records, Data(folds=4), seed=0)
    patient = next(record.patient for record in cut if record.split == "train")
    leaking = [replace(record, patient=patient) if record.split == "val" else record for record in cut]
    with pytest.raises(DataError, match="patient shared"):
        splits.check_leaks(leaking)


def test_the_shifted_validation_is_the_lowest_numbers(records: list[Record]) -> None:
    cut = splits.split(records, Data(folds=4, shifted_fraction=0.2), seed=0)
    for series in ("IM", "person"):
        shifted = [record.number for record in cut if record.series == series and record.split == "shifted"]
        others = [record.number for record in cut if record.series == series and record.split != "shifted"]
        assert max(shifted) < min(others)


def test_the_same_seed_cuts_alike_and_another_does_not(records: list[Record]) -> None:
    first, again, other = (splits.split(records, Data(), seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_an_official_test_split_stays_whole(records: list[Record]) -> None:
    official = [replace(r, official_split="test" if i % 7 == 0 else "train") for i, r in enumerate(records)]
    cut = splits.split(official, Data(folds=4), seed=0)
    assert all((record.split == "test") == (record.official_split == "test") for record in cut)


def test_too_few_images_are_said_to_be_too_few(records: list[Record]) -> None:
    with pytest.raises(DataError, match=r"12 images of \d+ patients are too few to be cut into data\.folds = 10"):
        splits.split(records[:6] + records[-6:], Data(shifted_fraction=0.01), seed=0)


def test_the_same_bytes_are_used_once(records: list[Record]) -> None:
    twin = replace(records[0], path="train/NORMAL/twin.jpeg", patient="twin")
    assert paths(splits.split([*records, twin], Data(folds=4), seed=0), "duplicate") == {twin.path}


def test_the_same_bytes_under_both_labels_are_left_out(records: list[Record]) -> None:
    twin = replace(records[0], path="train/PNEUMONIA/twin.jpeg", patient="twin", label="PNEUMONIA")
    assert paths(splits.split([*records, twin], Data(folds=4), seed=0), "contradictory") == {records[0].path, twin.path}


def test_an_unreadable_file_is_left_out(records: list[Record]) -> None:
    broken = replace(records[3], problem="the image is damaged", width=0, height=0)
    cut = splits.split([*records[:3], broken, *records[4:]], Data(folds=4), seed=0)
    assert paths(cut, "unreadable") == {broken.path}


def test_of_two_files_with_the_same_bytes_the_official_test_image_stays(records: list[Record]) -> None:
    twin = replace(records[0], path="test/NORMAL/twin.jpeg", patient="twin", official_split="test")
    again = replace(twin, path="test/NORMAL/again.jpeg")
    sick = replace(records[-1], path="test/PNEUMONIA/sick.jpeg", official_split="test", sha256="another")
    cut = splits.split([*records, twin, again, sick], Data(folds=4), seed=0)
    assert paths(cut, "test") == {twin.path, again.path, sick.path}
    assert paths(cut, "duplicate") == {records[0].path}
    assert [record.path for record in splits.strict_test(cut)] == [twin.path]  # once, and the patient of `sick` is in train


def test_a_whole_series_can_be_the_shifted_validation(records: list[Record]) -> None:
    odd = {record.path for record in records if record.series == "IM" and record.number % 2}
    second = [replace(r, series="NORMAL2-IM", patient=f"{r.number}") if r.path in odd else r for r in records]
    cut = splits.split(second, Data(folds=4, shifted_series="NORMAL2-IM"), seed=0)
    assert {record.split for record in cut if record.series == "NORMAL2-IM"} == {"shifted"}
    assert {record.split for record in cut if record.series == "IM"} >= {"train", "val", "test"}
    with pytest.raises(DataError, match=r"shifted_series = «IM2» is no series here: \['IM', 'person'\]"):
        splits.split(records, Data(shifted_series="IM2"), seed=0)
