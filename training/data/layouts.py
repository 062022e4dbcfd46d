"""Finds the images of a data folder and reads each once.

{train,val,test}/{label}/*.jpeg      to train on (`scan`); val and test are optional
{label}/*.jpeg                       to measure or recalibrate a model with (`scan_labelled`); a table labels.csv with the
                                     columns `file` (LABEL/NAME) and `patient_id` tells whose they are, where there is one

The labels are the names of the folders; there must be exactly two."""

import csv
import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec

from service.errors import ImageError
from service.images.decode import decode_image
from training.data import patients
from training.data.manifest import DataError, Record
from training.progress import track

SUFFIXES = {".jpeg", ".jpg", ".png", ".dcm", ".dicom"}
SPLITS = ("test/*/*", "train/*/*", "val/*/*")


def scan(folder: Path) -> list[Record]:
    """A record of every image of `folder`/{train,val,test}/LABEL/, sorted by path. Raises DataError if there is no folder
    `train`, or if there are not exactly two labels."""
    check_layout(folder)
    return _read_all(folder, _files(folder, *SPLITS))


def check_layout(folder: Path) -> None:
    """Raises DataError if there is no folder `train`."""
    if not (folder / "train").is_dir():
        raise DataError(f"{folder}: no folder «train» in it; expected train/LABEL/*.jpeg with two labels")


def count_other_files(folder: Path) -> dict[str, int]:
    """Number of files that `scan` leaves out, by suffix."""
    suffixes = (path.suffix.lower() or path.name for path in _files(folder, *SPLITS))
    return dict(Counter(suffix for suffix in suffixes if suffix not in SUFFIXES))


def scan_labelled(folder: Path) -> list[Record]:
    """A record of every image of `folder`/LABEL/, sorted by path. Raises DataError if there are not exactly two labels, or if
    an image is unreadable or present twice (and names each)."""
    records = _with_patients(folder, _read_all(folder, _files(folder, "*/*")))
    if bad := [f"  {record.path}: {record.problem}" for record in records if record.problem]:
        raise DataError(f"{len(bad)} images of {folder} cannot be used:\n" + "\n".join(bad[:20]))
    first: dict[str, Record] = {}
    for record in records:
        if (other := first.setdefault(record.sha256, record)) is not record:
            raise DataError(f"{folder}: {record.path} has the same bytes as {other.path}; remove one of them")
    return records


def _with_patients(folder: Path, records: Sequence[Record]) -> list[Record]:
    table = folder / "labels.csv"
    if not table.exists():
        return list(records)
    try:
        with table.open(newline="", encoding="utf-8") as file:
            patient_of = {row["file"]: row["patient_id"] for row in csv.DictReader(file)}
        return [msgspec.structs.replace(record, patient=patient_of[record.path]) for record in records]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read ({error})") from error
    except KeyError as error:
        raise DataError(
            f"{table} lacks {error}: it needs the columns «file» and «patient_id», and a line for each image"
        ) from error


def scan_readable(folder: Path) -> list[Record]:
    """A record of every image of either layout that can be decoded. Raises DataError if there are not exactly two labels."""
    patterns = SPLITS if (folder / "train").is_dir() else ["*/*"]
    return [record for record in _read_all(folder, _files(folder, *patterns)) if not record.problem]


def _files(folder: Path, *patterns: str) -> list[Path]:
    """Sorted; without those in folders that other programs leave, such as .ipynb_checkpoints and __MACOSX."""
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return [path for path in paths if not path.parent.name.startswith((".", "__"))]


def _read_all(folder: Path, paths: Sequence[Path]) -> list[Record]:
    images = [path for path in paths if path.suffix.lower() in SUFFIXES]
    records = [_read(folder, path) for path in track(images, "read images")]
    labels = sorted({record.label for record in records})
    if len(labels) != 2:
        raise DataError(f"{folder}: two label folders with images are needed, found {len(labels)}: {labels}")
    return records


def _read(folder: Path, path: Path) -> Record:
    """Decodes the image; what is wrong with it becomes the record's `problem`."""
    *split, label, name = path.relative_to(folder).parts
    if any("\udc80" <= letter <= "\udcff" for letter in str(path)):  # how Python represents a byte that is not UTF-8
        raise DataError(f"{os.fsencode(path)!r}: the name is not UTF-8; rename it")
    content, width, height, problem = b"", 0, 0, ""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise OSError("not a file")
        content = path.read_bytes()
        width, height = decode_image(content).size
    except (ImageError, OSError) as error:
        problem = str(error)
    return Record(
        path=path.relative_to(folder).as_posix(),
        label=label,
        **patients.read_name(name, label)._asdict(),
        width=width,
        height=height,
        sha256=hashlib.sha256(content).hexdigest(),
        official_split="".join(split),
        problem=problem,
    )
