from pathlib import Path

import pytest
from msgspec.structs import replace

from training.config import Data
from training.data import manifest, patients, splits
from training.data.manifest import DataError, Record


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
