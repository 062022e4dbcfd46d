"""Which patient each image belongs to, read from its file name. `splits` never puts one patient into two splits.

To group the images of another data set by patient, add the pattern of its names to `read_name`."""

import re
from typing import NamedTuple

# Names of the Kermany data: IM-0115-0001.jpeg, NORMAL2-IM-0115-0001.jpeg, person1_virus_6.jpeg
_NORMAL = re.compile(r"(?P<series>IM|NORMAL2-IM)-(?P<number>\d+)-")
_PNEUMONIA = re.compile(r"person(?P<number>\d+)_(?P<cause>bacteria|virus)")


class Identity(NamedTuple):
    """What a file name tells. `series`: images that were numbered together; `cause` of the disease, or empty;
    `patient`: the key that images of one person share."""

    series: str
    number: int
    cause: str
    patient: str


def read_name(name: str, label: str) -> Identity:
    """A name of an unknown pattern makes its file a patient of its own. In the Kermany data `personN` is one patient whatever
    the cause, and numbers restart in each series of normal images."""
    if match := _PNEUMONIA.match(name):
        number = int(match["number"])
        return Identity("person", number, match["cause"], f"person{number}")
    if match := _NORMAL.match(name):
        series, number = match["series"], int(match["number"])
        return Identity(series, number, "", f"{series}-{number}")
    return Identity(label, 0, "", f"{label}/{name}")


def is_unknown(patient: str) -> bool:
    """Whether the file name told no patient, so that two images of one person may end up in two splits."""
    return "/" in patient  # as `read_name` makes the key of a file that is its own patient
