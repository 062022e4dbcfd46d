"""Which patient an image belongs to."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.conftest import dicom_of, encode, grey
from training.config import Data
from training.data import patients, scan, splits


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IM-0115-0001.jpeg", ("IM", 115, "", "IM-115")),
        ("IM-0543-0001-0002.jpeg", ("IM", 543, "", "IM-543")),
        ("train/NORMAL/NORMAL2-IM-0115-0001.jpeg", ("NORMAL2-IM", 115, "", "NORMAL2-IM-115")),
        ("person1000_virus_1681.jpeg", ("person", 1000, "virus", "person1000")),
        ("person1000_bacteria_2931.jpeg", ("person", 1000, "bacteria", "person1000")),
        ("NORMAL-1003233-0001.jpeg", ("NORMAL", 1003233, "", "person-1003233")),
        ("BACTERIA-1008087-0001.jpeg", ("person", 1008087, "bacteria", "person-1008087")),
        ("VIRUS-1008087-0002.jpeg", ("person", 1008087, "virus", "person-1008087")),
        ("NORMAL/anything.png", ("NORMAL", 0, "", "/NORMAL/anything.png")),
    ],
)
def test_the_patient_is_read_from_the_name(name: str, expected: tuple[str, int, str, str]) -> None:
    identity = patients.read_name(name, "NORMAL")
    assert identity == expected and patients.is_unknown(identity.patient) == ("anything" in name)


def write(folder: Path, names: dict[str, bytes]) -> Data:
    for path, content in names.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)
    return Data(folder=str(folder))


def test_no_patient_of_version_3_is_in_two_splits(tmp_path: Path) -> None:
    names = {f"NORMAL/NORMAL-{1000000 + number // 3}-{number:04}.png": number for number in range(120)}
    names |= {
        f"PNEUMONIA/{('BACTERIA', 'VIRUS')[number % 2]}-{2000000 + number // 3}-{number:04}.png": 1000 + number
        for number in range(120)
    }
    data = write(tmp_path, {name: encode(grey(40, 40, seed=seed)) for name, seed in names.items()})
    records = splits.split(scan.scan(data).records, data, seed=0)
    splits.check_complete(records)
    numbers = {record.path.split("-")[1] for record in records}
    found = {(record.path.split("-")[1], record.split) for record in records}
    assert len(numbers) == len(found) == 80


def test_a_pattern_finds_the_patient_in_the_path(tmp_path: Path) -> None:
    data = write(tmp_path, {f"{label}/study {n}/{n}.png": encode(grey(40, 40, seed=n)) for n in range(4) for label in "ab"})
    data = replace(data, positive="b", patient=r"/(?P<patient>study \d+)/")
    assert {record.patient for record in scan.scan(data).records} == {"study 0", "study 1", "study 2", "study 3"}


def test_the_patient_of_a_dicom_file_is_known_and_his_identifier_is_not_kept(tmp_path: Path) -> None:
    files = {f"{label}/{n}.dcm": dicom_of(grey(64, 64, seed=n), PatientID=f"MRN{n // 2}") for n in range(4) for label in "ab"}
    records = scan.scan(replace(write(tmp_path, files), positive="b")).records
    assert [record.patient for record in records[:4]] == ["DICOM patient 1"] * 2 + ["DICOM patient 2"] * 2
    assert not any(patients.is_unknown(record.patient) or "MRN" in str(record) for record in records)
