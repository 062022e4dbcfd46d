import pytest
from msgspec.structs import replace

from training.config import Data
from training.data import splits
from training.data.manifest import DataError, Record, of_split


def cut(records: list[Record], fraction: float = 0.1, series: str = "") -> list[Record]:
    return splits.split(records, Data(folds=4, shifted_fraction=fraction, shifted_series=series), seed=0)


def paths(records: list[Record], split: str) -> list[str]:
    return [record.path for record in of_split(records, split)]


def test_no_patient_is_in_two_splits_and_a_leak_is_fatal(records: list[Record]) -> None:
    found = cut(records)
    assert {record.split for record in found} == {"train", "val", "shifted", "test"}
    assert len({(record.patient, record.split) for record in found}) == len({record.patient for record in found})
    splits.check_leaks(found)
    for key in ("patient", "sha256"):
        shared = {key: getattr(of_split(found, "train")[0], key)}
        with pytest.raises(DataError, match=f"{key} shared"):
            splits.check_leaks([replace(record, **shared) if record.split == "val" else record for record in found])


@pytest.mark.parametrize("series", ["IM", "person"])
def test_the_shifted_validation_is_the_lowest_numbers(records: list[Record], series: str) -> None:
    of_series = sorted((record.number, record.split != "shifted") for record in cut(records, 0.2) if record.series == series)
    others = [other for _, other in of_series]
    assert others == sorted(others) and len(set(others)) == 2


def test_the_same_seed_cuts_alike_and_another_does_not(records: list[Record]) -> None:
    first, again, other = (splits.split(records, Data(), seed) for seed in (0, 0, 1))
    assert first == again != other


def test_what_is_of_no_use_is_left_out(records: list[Record]) -> None:
    first = replace(records[0], path="first")
    for reason, left_out, twin in (
        ("duplicate", ["twin"], replace(first, path="twin")),  # the same bytes are used once
        ("contradictory", ["first", "twin"], replace(first, path="twin", label="PNEUMONIA")),
        ("unreadable", ["twin"], replace(first, path="twin", problem="the image is damaged", sha256="")),
    ):
        assert paths(cut([first, *records[1:], twin]), reason) == left_out


def test_the_official_test_split_stays_whole_and_its_image_stays_where_another_has_its_bytes(records: list[Record]) -> None:
    twin = replace(records[0], path="test/NORMAL/twin.jpeg", patient="twin", official_split="test")
    again = replace(twin, path="test/NORMAL/again.jpeg")
    sick = replace(records[-1], path="test/PNEUMONIA/sick.jpeg", official_split="test", sha256="another")
    found = cut([*records, twin, again, sick])
    assert paths(found, "test") == [twin.path, again.path, sick.path]
    assert paths(found, "duplicate") == [records[0].path]
    assert [record.path for record in splits.strict_test(found)] == [twin.path]  # once, and the patient of `sick` is in train


def test_a_given_validation_stays_whole_and_its_patients_are_not_trained_on(records: list[Record]) -> None:
    given = [replace(record, official_split="val") if record.number % 5 == 0 else record for record in records]
    one = next(record for record in given if record.official_split == "val")
    twin = replace(one, path="train/NORMAL/twin.jpeg", sha256="another", official_split="train")
    found = cut([*given, twin])
    assert paths(found, "val") == [record.path for record in given if record.official_split == "val"]
    assert paths(found, "shared") == [twin.path]
    assert {record.split for record in found} == {"train", "val", "shifted", "test", "shared"}


def test_of_two_copies_the_one_whose_name_tells_its_patient_stays(records: list[Record]) -> None:
    copy = replace(records[0], path="train/NORMAL/copy.jpeg", patient="/train/NORMAL/copy.jpeg")
    assert paths(cut([copy, *records]), "duplicate") == [copy.path]


def test_a_whole_series_can_be_the_shifted_validation(records: list[Record]) -> None:
    second = [replace(r, series="NORMAL2-IM") if r.series == "IM" and r.number % 2 else r for r in records]
    found = {(record.series, record.split) for record in cut(second, series="NORMAL2-IM")}
    assert {split for series, split in found if series == "NORMAL2-IM"} == {"shifted"}
    assert {split for series, split in found if series == "IM"} >= {"train", "val", "test"}


def test_too_few_images_and_an_unknown_series_are_named(records: list[Record]) -> None:
    with pytest.raises(DataError, match=r"\d+ images of \d+ patients are too few to be cut into data\.folds = 10"):
        splits.split(records[:6] + records[-6:], Data(shifted_fraction=0.01), seed=0)
    with pytest.raises(DataError, match=r"shifted_series = «IM2» is no series here: \['IM', 'person'\]"):
        cut(records, series="IM2")
