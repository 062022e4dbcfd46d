import pytest
from msgspec.structs import replace

from training.config import Data
from training.data import splits
from training.data.manifest import DataError, Record


def cut(records: list[Record], fraction: float = 0.1, series: str = "") -> list[Record]:
    return splits.split(records, Data(folds=4, shifted_fraction=fraction, shifted_series=series), seed=0)


def paths(records: list[Record], split: str) -> list[str]:
    return [record.path for record in records if record.split == split]


def test_no_patient_and_no_file_is_in_two_splits(records: list[Record]) -> None:
    found = cut(records)
    assert {record.split for record in found} == {"train", "val", "shifted", "test"}
    assert len({(record.patient, record.split) for record in found}) == len({record.patient for record in found})
    splits.check_leaks(found)


def test_a_leak_is_fatal(records: list[Record]) -> None:
    patient = next(record.patient for record in cut(records) if record.split == "train")
    leaking = [replace(record, patient=patient) if record.split == "val" else record for record in cut(records)]
    with pytest.raises(DataError, match="patient shared"):
        splits.check_leaks(leaking)


@pytest.mark.parametrize("series", ["IM", "person"])
def test_the_shifted_validation_is_the_lowest_numbers(records: list[Record], series: str) -> None:
    of_series = sorted((record.number, record.split != "shifted") for record in cut(records, 0.2) if record.series == series)
    others = [other for _, other in of_series]
    assert others == sorted(others) and len(set(others)) == 2


def test_the_same_seed_cuts_alike_and_another_does_not(records: list[Record]) -> None:
    first, again, other = (splits.split(records, Data(), seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


def test_an_official_test_split_stays_whole(records: list[Record]) -> None:
    official = [replace(record, official_split="test" if i % 7 == 0 else "train") for i, record in enumerate(records)]
    assert paths(cut(official), "test") == [record.path for record in official if record.official_split == "test"]


def test_too_few_images_are_said_to_be_too_few(records: list[Record]) -> None:
    with pytest.raises(DataError, match=r"12 images of \d+ patients are too few to be cut into data\.folds = 10"):
        splits.split(records[:6] + records[-6:], Data(shifted_fraction=0.01), seed=0)


@pytest.mark.parametrize(
    ("reason", "change", "left_out"),
    [
        ("duplicate", {"path": "twin"}, ["twin"]),  # the same bytes are used once
        ("contradictory", {"path": "twin", "label": "PNEUMONIA"}, ["first", "twin"]),  # the same bytes under both labels
        ("unreadable", {"path": "broken", "problem": "the image is damaged", "sha256": ""}, ["broken"]),
    ],
)
def test_what_cannot_be_used_is_left_out(
    records: list[Record], reason: str, change: dict[str, str], left_out: list[str]
) -> None:
    first = replace(records[0], path="first")
    assert paths(cut([first, *records[1:], replace(first, **change)]), reason) == left_out


def test_of_two_files_with_the_same_bytes_the_official_test_image_stays(records: list[Record]) -> None:
    twin = replace(records[0], path="test/NORMAL/twin.jpeg", patient="twin", official_split="test")
    again = replace(twin, path="test/NORMAL/again.jpeg")
    sick = replace(records[-1], path="test/PNEUMONIA/sick.jpeg", official_split="test", sha256="another")
    found = cut([*records, twin, again, sick])
    assert paths(found, "test") == [twin.path, again.path, sick.path]
    assert paths(found, "duplicate") == [records[0].path]
    assert [record.path for record in splits.strict_test(found)] == [twin.path]  # once, and the patient of `sick` is in train


def test_a_whole_series_can_be_the_shifted_validation(records: list[Record]) -> None:
    odd = {record.path for record in records if record.series == "IM" and record.number % 2}
    second = [replace(r, series="NORMAL2-IM", patient=f"{r.number}") if r.path in odd else r for r in records]
    found = {(record.series, record.split) for record in cut(second, series="NORMAL2-IM")}
    assert {split for series, split in found if series == "NORMAL2-IM"} == {"shifted"}
    assert {split for series, split in found if series == "IM"} >= {"train", "val", "test"}
    with pytest.raises(DataError, match=r"shifted_series = «IM2» is no series here: \['IM', 'person'\]"):
        cut(records, series="IM2")
