"""Which patient each image belongs to. `splits` never puts one patient into two splits.

The first that tells it counts: a table's column, the pattern `data.patient`, the PatientID of a DICOM file (of which only the
order of its first file is kept), and file names as those of the Kermany data. To know another archive's names, add their
pattern to `read_name`."""

import hashlib
import io
import re
from typing import NamedTuple

import pydicom

from service.images import limits

# Names of the Kermany data. Version 2: IM-0115-0001.jpeg, NORMAL2-IM-0115-0001.jpeg, person1_virus_6.jpeg; version 3:
# NORMAL-1003233-0001.jpeg, BACTERIA-1008087-0001.jpeg, VIRUS-1043207-0002.jpeg
_NORMAL = re.compile(r"(?P<series>IM|NORMAL2-IM)-(?P<number>\d+)-")
_PNEUMONIA = re.compile(r"person(?P<number>\d+)_(?P<cause>bacteria|virus)")
_VERSION_3 = re.compile(r"(?P<kind>NORMAL|BACTERIA|VIRUS)-(?P<number>\d+)-\d+\b")


HASHED = "SHA-256 "  # how `read_dicom`'s patients begin, which must not be written anywhere


class Identity(NamedTuple):
    """What a file name tells. `series`: images that were numbered together; `cause` of the disease, or empty;
    `patient`: the key that images of one person share."""

    series: str
    number: int
    cause: str
    patient: str


def read_name(path: str, label: str) -> Identity:
    """A name of an unknown pattern makes its file a patient of its own. In the Kermany data `personN` is one patient whatever
    the cause, and numbers restart in each series of normal images; in its version 3, a number is one patient everywhere."""
    name = path.rpartition("/")[2]
    if match := _PNEUMONIA.match(name):
        number = int(match["number"])
        return Identity("person", number, match["cause"], f"person{number}")
    if match := _NORMAL.match(name):
        series, number = match["series"], int(match["number"])
        return Identity(series, number, "", f"{series}-{number}")
    if match := _VERSION_3.match(name):
        cause = "" if match["kind"] == "NORMAL" else match["kind"].lower()
        return Identity("person" if cause else "NORMAL", int(match["number"]), cause, f"person-{match['number']}")
    return Identity(label, 0, "", f"/{path}")


def find(pattern: str, path: str) -> str:
    """What the group `patient` of a regular expression finds in an image's path; empty if it finds nothing."""
    match = re.search(pattern, path) if pattern else None
    return (match["patient"] or "").lstrip("/") if match else ""


def read_dicom(content: bytes) -> str:
    """A hash of the PatientID, if these are the bytes of a DICOM file that can be decoded, to compare patients by; empty if
    there is none. It must not be written anywhere, since identifiers can be guessed from their hashes."""
    if not limits.is_dicom(content):
        return ""
    header = pydicom.dcmread(io.BytesIO(content), stop_before_pixels=True, specific_tags=["PatientID"], force=True)
    patient = str(header.get("PatientID") or "").strip()
    return HASHED + hashlib.sha256(patient.encode()).hexdigest() if patient else ""


def is_unknown(patient: str) -> bool:
    """Whether nothing told the patient, so that two images of one person may end up in two splits."""
    return patient.startswith("/")  # as `read_name` makes the key of a file that is its own patient
