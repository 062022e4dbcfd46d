import pytest

from training.data import patients


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
    assert identity == expected
    assert patients.is_unknown(identity.patient) == (name == "anything.png")
