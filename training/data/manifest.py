"""A folder of labelled images: which are there, and whose they are.

{train,val,test}/{label}/*.jpeg      val and test optional; the labels are the folders' names
"""

import csv
import hashlib
import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from service.errors import ImageError, MedXferError
from service.images.decode import decode_image
from training import files
from training.progress import track

SUFFIXES = {".jpeg", ".jpg", ".png", ".dcm", ".dicom"}
MANIFEST, AUDIT = "manifest.csv", "audit.json"  # in a run folder
MEAN, STD = 0.449, 0.226  # of grey levels in 0–1: ImageNet's three channel means and deviations, averaged

_NORMAL = re.compile(r"(?P<series>IM|NORMAL2-IM)-(?P<number>\d+)-")
_PERSON = re.compile(r"(?P<series>person)(?P<number>\d+)_(?P<cause>bacteria|virus)")


class DataError(MedXferError):
    pass


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One file. `patient` is what may never be shared between splits; `split` is given by `splits.split`. A file that
    cannot be decoded has a `problem`, and no size."""

    path: str  # relative to the data folder
    label: str
    series: str
    number: int
    cause: str
    patient: str
    width: int
    height: int
    sha256: str
    official_split: str
    problem: str = ""
    split: str = ""


def scan(folder: Path) -> list[Record]:
    """Every image below `folder`, decoded once, in the order of their paths.

    Raises DataError: no such layout, or not exactly two labels.
    """
    check_folder(folder)
    paths = sorted(path for path in _files(folder) if path.suffix.lower() in SUFFIXES)
    records = [_record(folder, path) for path in track(paths, "read images")]
    _two_labels(records, folder)
    return records


def check_folder(folder: Path) -> None:
    """Raises DataError: nothing of what `scan` reads is there."""
    if not (folder / "train").is_dir():
        raise DataError(f"{folder}: no folder «train» in it; expected train/LABEL/*.jpeg with two labels")


def other_files(folder: Path) -> dict[str, int]:
    """What `scan` does not take, by suffix."""
    others = [path for path in _files(folder) if path.suffix.lower() not in SUFFIXES]
    return dict(Counter(path.suffix.lower() or path.name for path in others))


def scan_labelled(folder: Path) -> list[Record]:
    """Every readable image of `folder`/LABEL/, for a model that is there already.

    Raises DataError: not two labels, or images that cannot be read or stand there twice (each named).
    """
    paths = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES and _is_label(path.parent))
    records = [_record(folder, path) for path in track(paths, "read images")]
    if bad := [f"  {record.path}: {record.problem}" for record in records if record.problem]:
        raise DataError(f"{len(bad)} images of {folder} cannot be used:\n" + "\n".join(bad[:20]))
    first: dict[str, Record] = {}
    for record in records:
        if (other := first.setdefault(record.sha256, record)) is not record:
            raise DataError(f"{folder}: {record.path} has the same bytes as {other.path}; each image is to stand there once")
    _two_labels(records, folder)
    return records


def _files(folder: Path) -> list[Path]:
    return [path for split in ("test", "train", "val") for path in (folder / split).glob("*/*") if _is_label(path.parent)]


def _is_label(folder: Path) -> bool:
    return not folder.name.startswith((".", "__"))  # what other programs leave, as .ipynb_checkpoints and __MACOSX


def _two_labels(records: Sequence[Record], folder: Path) -> None:
    labels = sorted({record.label for record in records})
    if len(labels) != 2:
        raise DataError(f"{folder}: two label folders with images are needed, found {len(labels)}: {labels}")


def _record(folder: Path, path: Path) -> Record:
    *split, label, name = path.relative_to(folder).parts
    series, number, cause, patient = identify(name, label)
    if any("\udc80" <= letter <= "\udcff" for letter in str(path)):  # how Python keeps a byte that is not UTF-8
        raise DataError(f"{os.fsencode(path)!r}: the name is not UTF-8; rename it")
    content, height, width, problem = b"", 0, 0, ""
    if path.exists() and not path.is_file():
        problem = "not a file"
    try:
        content = b"" if problem else path.read_bytes()
        width, height = decode_image(content).size
    except (ImageError, OSError) as error:
        problem = problem or str(error)
    return Record(
        path=path.relative_to(folder).as_posix(), label=label, series=series, number=number, cause=cause, patient=patient,
        width=width, height=height, sha256=hashlib.sha256(content).hexdigest(), official_split="".join(split), problem=problem,
    )  # fmt: skip


def identify(name: str, label: str) -> tuple[str, int, str, str]:
    """Series, number, cause and patient of a file name; names of other data sets make every file its own patient.

    In the Kermany data `personN` is one patient whatever the cause, and numbers restart in each series of normals.
    """
    if match := _PERSON.match(name):
        return "person", int(match["number"]), match["cause"], f"person{int(match['number'])}"
    if match := _NORMAL.match(name):
        return match["series"], int(match["number"]), "", f"{match['series']}-{int(match['number'])}"
    return label, 0, "", f"{label}/{name}"


def series_name(record: Record) -> str:
    """For people: label, and what is known of series and cause."""
    series = "" if record.cause else record.series  # where there are causes, the series is one
    return ", ".join(dict.fromkeys(part for part in (record.label, series, record.cause) if part))


def anonymous(records: Sequence[Record]) -> int:
    """How many images have a name that tells no patient, so that nothing can keep two of one patient apart."""
    return sum(record.patient == f"{record.label}/{Path(record.path).name}" for record in records)


def write_table(rows: Sequence[msgspec.Struct], path: Path) -> None:
    """As CSV; at least one row, all of one type."""
    with files.whole(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].__struct_fields__)
        writer.writeheader()
        writer.writerows(msgspec.structs.asdict(row) for row in rows)


def read_manifest(path: Path) -> list[Record]:
    """Raises DataError: `audit` has not run in this run folder."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return msgspec.convert(list(csv.DictReader(file)), list[Record], strict=False)
    except (OSError, msgspec.ValidationError) as error:
        raise DataError(f"{path}: no manifest ({error}); run the stage «audit» first") from error


def of_split(records: Sequence[Record], *names: str) -> list[Record]:
    return [record for record in records if record.split in names]


def label_names(records: Sequence[Record], positive: str) -> list[str]:
    """The two labels, in the order of the network's outputs: alphabetical.

    Raises DataError: `positive` is neither.
    """
    labels = sorted({record.label for record in records})
    if positive not in labels:
        raise DataError(f"data.positive = «{positive}» is not a label of this data; the labels are {labels}")
    return labels


def read_image(folder: Path, record: Record) -> npt.NDArray[np.uint8]:
    """uint8 [height, width]. Raises DataError: the file has changed, or is gone, since the audit."""
    try:
        content = (folder / record.path).read_bytes()
        image = decode_image(content).grey
    except (ImageError, OSError) as error:
        raise DataError(f"{folder / record.path}: {error}") from error
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise DataError(f"{folder / record.path}: not the image that was there when the run began")
    return image
