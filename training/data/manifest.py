"""The manifest: one record for each file of the data folder, written by `audit` to `manifest.csv` and read by later stages."""

import csv
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from service.errors import ImageError, MedXferError
from service.images.decode import decode_image
from training import files

MANIFEST, AUDIT = "manifest.csv", "audit.json"  # in a run folder

T = TypeVar("T")


class DataError(MedXferError): ...


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the data folder."""

    path: str  # relative to the data folder
    label: str  # the answer that a model shall give, one of two
    positive: bool
    given_label: str  # as its folder or table calls it
    series: str  # this, `number`, `cause` and `patient` as in `patients.Identity`
    number: int
    cause: str = ""
    patient: str
    width: int  # 0, like `height`, if the file has a `problem`: it cannot be decoded
    height: int
    sha256: str
    official_split: str = ""  # train, val or test: the one that it came in; empty if none was given
    problem: str = ""
    split: str = ""  # set by `splits.split`

    @property
    def group(self) -> str:
        """For people: the label, with the series or the cause if the name tells one."""
        series = "" if self.cause else self.series  # images with causes are all of one series
        return ", ".join(dict.fromkeys(part for part in (self.label, series, self.cause) if part))


def write_table(rows: Sequence[msgspec.Struct], path: Path) -> None:
    """Writes at least one row, all of one type, as CSV."""
    with files.atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].__struct_fields__)
        writer.writeheader()
        writer.writerows(msgspec.structs.asdict(row) for row in rows)


def read_table(path: Path, kind: type[T], stage: str) -> list[T]:
    """Reads what `write_table` wrote; an empty cell becomes the field's default. Raises DataError, which names the stage that
    writes the file, if it is missing or damaged."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file, strict=True)
        rows = [{name: cell for name, cell in zip(header, line, strict=True) if cell != ""} for line in lines]
        return [msgspec.convert(row, kind, strict=False) for row in rows]
    except (OSError, ValueError, csv.Error) as error:  # ValueError: a line with too few cells, or a wrong cell
        raise DataError(f"{path} cannot be read ({error}); the stage «{stage}» writes it") from error


def read_manifest(path: Path) -> list[Record]:
    return read_table(path, Record, "audit")


def of_split(records: Sequence[Record], *names: str) -> list[Record]:
    return [record for record in records if record.split in names]


def label_names(records: Sequence[Record]) -> list[str]:
    """The two labels in alphabetical order, that of the network's outputs."""
    return sorted({record.label for record in records})


def positive_label(records: Sequence[Record]) -> str:
    return next(record.label for record in records if record.positive)


def read_image(folder: Path, record: Record) -> npt.NDArray[np.uint8]:
    """Decodes one image to uint8 [height, width]. Raises DataError if the file has changed since the audit, or is gone."""
    try:
        content = (folder / record.path).read_bytes()
        image = decode_image(content).grey
    except (ImageError, OSError) as error:
        raise DataError(f"{folder / record.path}: {error}") from error
    if hashlib.sha256(content).hexdigest() != record.sha256:
        raise DataError(f"{folder / record.path}: not the image that was there when the run began")
    return image
