"""A folder of labelled images: which are there, whose they are, and which split each belongs to.

{train,val,test}/{label}/*.jpeg      val and test optional; the labels are the folders' names
"""

import csv
import hashlib
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from service import images
from service.errors import ImageError, MedXferError
from training.config import Data

SUFFIXES = {".jpeg", ".jpg", ".png"}
MEAN, STD = 0.449, 0.226  # of grey levels in 0–1: ImageNet's three channel means and deviations, averaged

_NORMAL = re.compile(r"(?P<series>IM|NORMAL2-IM)-(?P<number>\d+)-")
_PERSON = re.compile(r"(?P<series>person)(?P<number>\d+)_(?P<cause>bacteria|virus)")


class DataError(MedXferError):
    pass


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One image file. `patient` is what may never be shared between splits; `split` is ours: train, val, shifted,
    test, or `duplicate` (left out: the same bytes stand elsewhere)."""

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
    split: str = ""


def scan(folder: Path) -> list[Record]:
    """Every image below `folder`, decoded once, in the order of their paths.

    Raises DataError: no such layout, not exactly two labels, or an image that cannot be read (each named).
    """
    if not (folder / "train").is_dir():
        raise DataError(f"{folder}: no folder «train» in it; expected train/LABEL/*.jpeg with two labels")
    records, bad = [], []
    for path in sorted(p for p in folder.glob("*/*/*") if p.suffix.lower() in SUFFIXES):
        split, label = path.relative_to(folder).parts[:2]
        if split not in ("train", "val", "test"):
            continue
        try:
            records.append(_record(folder, path, split, label))
        except (ImageError, OSError) as error:
            bad.append(f"  {path.relative_to(folder)}: {error}")
    if bad:
        raise DataError(f"{len(bad)} images of {folder} cannot be used:\n" + "\n".join(bad[:20]))
    labels = sorted({record.label for record in records})
    if len(labels) != 2:
        raise DataError(f"{folder}: two label folders with images are needed, found {len(labels)}: {labels}")
    return records


def _record(folder: Path, path: Path, split: str, label: str) -> Record:
    content = path.read_bytes()
    height, width = images.decode(content).shape
    series, number, cause, patient = identify(path.name, label)
    return Record(
        path=str(path.relative_to(folder)), label=label, series=series, number=number, cause=cause, patient=patient,
        width=width, height=height, sha256=hashlib.sha256(content).hexdigest(), official_split=split,
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


def anonymous(records: Sequence[Record]) -> int:
    """How many images have a name that tells no patient, so that nothing can keep two of one patient apart."""
    return sum(record.patient == f"{record.label}/{Path(record.path).name}" for record in records)


def split(records: Sequence[Record], choices: Data, seed: int) -> list[Record]:
    """Cut training, validation, shifted validation and, without an official test split, test, by patient.

    The shifted validation takes the lowest numbers of each series. The official test images of the Kermany data are the lowest
    numbers of their series too, so a contiguous block next to them shows the shift that a random fold hides.
    """
    seen: set[str] = set()
    assigned: dict[str, str] = {}
    pool = []
    for record in records:
        if record.sha256 in seen:
            assigned[record.path] = "duplicate"
        elif record.official_split == "test":
            assigned[record.path] = "test"
        else:
            pool.append(record)
        seen.add(record.sha256)
    shifted = _lowest_numbers(pool, choices.shifted_fraction)
    rest = [record for record in pool if record.patient not in shifted]
    assigned |= {record.path: "shifted" for record in pool if record.patient in shifted}
    assigned |= _folds(rest, choices.folds, seed, cut_test="test" not in assigned.values())
    return [msgspec.structs.replace(record, split=assigned[record.path]) for record in records]


def _lowest_numbers(records: Sequence[Record], fraction: float) -> set[str]:
    by_series = defaultdict(list)
    for record in records:
        by_series[record.label, record.series].append(record)
    shifted: set[str] = set()
    for members in by_series.values():
        members.sort(key=lambda record: (record.number, record.path))
        shifted |= {record.patient for record in members[: round(len(members) * fraction)]}
    return shifted


def _folds(records: Sequence[Record], folds: int, seed: int, cut_test: bool) -> dict[str, str]:
    strata = [f"{record.label} {record.series} {record.cause}" for record in records]
    patients = [record.patient for record in records]
    names = {0: "val", 1: "test"} if cut_test else {0: "val"}
    assigned: dict[str, str] = {}
    cutter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    try:
        cuts = list(cutter.split(records, strata, patients))
    except ValueError as error:
        few = f"{len(records)} images of {len(set(patients))} patients"
        raise DataError(f"{few} are too few to be cut into data.folds = {folds}") from error
    for fold, (_, indices) in enumerate(cuts):
        assigned |= {records[index].path: names.get(fold, "train") for index in indices}
    return assigned


def write_manifest(records: Sequence[Record], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, Record.__struct_fields__)
        writer.writeheader()
        writer.writerows(msgspec.structs.asdict(record) for record in records)


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
        return images.decode((folder / record.path).read_bytes())
    except (ImageError, OSError) as error:
        raise DataError(f"{folder / record.path}: {error}") from error
