"""Reads each image of a data folder once: its size, its hash, and what is wrong with it."""

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import msgspec

from service.errors import ImageError
from service.images.decode import decode_image
from service.model.artefact import Description
from training.config import CPUS, Data
from training.data import labels, layouts, patients, tables
from training.data.labels import Answer
from training.data.layouts import File, Listing
from training.data.manifest import DataError, Record
from training.progress import track

TABLE = "labels.csv"  # in a data folder


@dataclass(frozen=True)
class Scan:
    """The records of a folder's images, sorted by path; and, as in `layouts.Listing`, what was passed over, and the columns."""

    records: list[Record]
    passed_over: Counter[str]
    columns: dict[str, str]


def scan(data: Data) -> Scan:
    """Raises DataError if there are no images with labels, or if the configuration does not divide the labels in two."""
    listing = find(data)
    answers = labels.group(Counter(file.label for file in listing.files), data)
    return Scan(read_all(data, listing.files, answers), listing.passed_over, listing.columns)


def scan_readable(data: Data) -> Scan:
    """As `scan`, without the images that cannot be decoded, which are counted."""
    found = scan(data)
    bad = Counter({"images that cannot be decoded": sum(bool(record.problem) for record in found.records)})
    return Scan([record for record in found.records if not record.problem], found.passed_over + bad, found.columns)


def scan_labelled(data: Data, description: Description) -> Scan:
    """The records of a data set, in any layout, whose labels a model knows. Raises DataError if it does not know them, if one
    of its answers is missing, if an image is unreadable (and names each), or if one is there twice."""
    listing, known = find(data), description.data.get("labels", {}) | {label: label for label in description.labels}
    try:
        answers = labels.answers_of({file.label for file in listing.files}, known, description.positive)
    except DataError as error:
        raise DataError(f"{data.folder}: {error}") from error
    records = read_all(data, listing.files, answers)
    if bad := [f"  {record.path}: {record.problem}" for record in records if record.problem]:
        raise DataError(f"{len(bad)} images of {data.folder} cannot be used:\n" + "\n".join(bad[:20]))
    first: dict[str, Record] = {}
    for record in records:
        if (other := first.setdefault(record.sha256, record)) is not record:
            raise DataError(f"{data.folder}: {record.path} has the same bytes as {other.path}; remove one of them")
    return Scan(records, listing.passed_over, listing.columns)


def find(data: Data) -> Listing:
    """The images with the labels that a table or folders give them. Raises DataError if there are none."""
    folder = Path(data.folder)
    table = Path(data.table) if data.table else folder / TABLE
    if not data.table and not table.exists():
        return layouts.find(folder)
    tree, (rows, columns) = layouts.walk(folder), tables.read(table, data.columns)
    cells, passed_over = tables.join(rows, tree)
    if "label" in columns:
        files, passed_over = layouts.unify(tables.files_of(cells)), tree.others + passed_over
    else:
        listing = _below(folder, table, columns)
        files, passed_over = tables.add(cells, listing.files), listing.passed_over
    if table.is_relative_to(folder):
        passed_over -= Counter({table.suffix.lower(): 1})
    return Listing(files, passed_over, columns)


def _below(folder: Path, table: Path, columns: Mapping[str, str]) -> Listing:
    """The images with the labels of their folders. Raises DataError, which also names the table, if there are none."""
    try:
        return layouts.find(folder)
    except DataError as error:
        known = ", ".join(columns.values())
        raise DataError(f"{table} has no column «label» (known to it: {known}), and folders tell none: {error}") from error


def read_all(data: Data, files: Sequence[File], answers: Mapping[str, Answer]) -> list[Record]:
    """`answers`: by label. DICOM's patients are numbered in the order of their first files."""
    folder = Path(data.folder)
    with ThreadPoolExecutor(CPUS) as pool:
        futures = [
            pool.submit(_read, folder, file, answers[file.label], data.patient) for file in sorted(files, key=lambda f: f.path)
        ]
        records = [future.result() for future in track(futures, "read images")]
    hashed = dict.fromkeys(record.patient for record in records if record.patient.startswith(patients.HASHED))
    numbers = {patient: f"DICOM patient {number}" for number, patient in enumerate(hashed, 1)}
    return [msgspec.structs.replace(record, patient=numbers.get(record.patient, record.patient)) for record in records]


def _read(folder: Path, file: File, answer: Answer, pattern: str) -> Record:
    """Decodes the image; what is wrong with it becomes the record's `problem`."""
    path = folder / file.path
    if any("\udc80" <= letter <= "\udcff" for letter in file.path):  # how Python represents a byte that is not UTF-8
        raise DataError(f"{os.fsencode(path)!r}: the name is not UTF-8; rename it")
    content, width, height, problem = b"", 0, 0, ""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would wait for ever
            raise OSError("not a file")
        content = path.read_bytes()
        width, height = decode_image(content).size
    except (ImageError, OSError) as error:
        problem = str(error)
    identity = patients.read_name(file.path, answer.name)
    told = file.patient.lstrip("/") or patients.find(pattern, file.path) or ("" if problem else patients.read_dicom(content))
    return Record(
        path=file.path,
        label=answer.name,
        given_label=file.label,
        positive=answer.positive,
        series=identity.series,
        number=identity.number,
        cause=answer.cause or identity.cause,
        patient=told or identity.patient,
        width=width,
        height=height,
        sha256=hashlib.sha256(content).hexdigest(),
        official_split=file.split,
        problem=problem,
    )
