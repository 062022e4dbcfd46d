"""Data folders as they lie on people's disks: a table of shapes, each drawn with phantoms, and what becomes of it.

Each has what people have: a damaged file, a file twice, a stray PDF, mixed suffixes, and a patient with ten images."""

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pyarrow import Table, parquet

from tests.conftest import dicom_of
from training.data import phantoms

PATIENTS = 24  # of each label


@dataclass(frozen=True)
class Drawing:
    pixels: np.ndarray[tuple[int, int], np.dtype[np.uint8]]
    sick: bool
    patient: int
    number: int

    @property
    def label(self) -> str:
        return "PNEUMONIA" if self.sick else "NORMAL"

    @property
    def name(self) -> str:
        suffix = (".jpeg", ".png", ".JPG")[self.number % 3]
        return (
            f"person{self.patient}_virus_{self.number}{suffix}" if self.sick else f"IM-{self.patient:04}-{self.number}{suffix}"
        )

    @property
    def content(self) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(self.pixels).save(buffer, "PNG" if self.name.endswith(".png") else "JPEG")
        return buffer.getvalue()


def drawings() -> list[Drawing]:
    rng = np.random.default_rng(0)
    people = [*range(PATIENTS), *[0] * 9] * 2  # patient 0 has ten images
    half = len(people) // 2
    return [Drawing(phantoms.draw(rng, at >= half)[::2, ::2], at >= half, who, at) for at, who in enumerate(people)]


@dataclass(frozen=True)
class Shape:
    """`write` fills a folder and returns what --data names. `choices`: of `config.Data`. `error`: of those that are refused."""

    write: Callable[[Path, list[Drawing]], Path]
    choices: dict[str, Any] = field(default_factory=dict)  # Any: values of any type
    labels: tuple[str, str] = ("NORMAL", "PNEUMONIA")
    error: str = ""


def save(folder: Path, drawn: list[Drawing], place: Callable[[Drawing], str]) -> Path:
    """Writes each image to `place`, and what people have beside them into the folder of the first."""
    for one in drawn:
        path = folder / place(one)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(one.content)
    beside = (folder / place(drawn[0])).parent
    (beside / "copy_of_it.jpeg").write_bytes(drawn[0].content)
    (beside / "damaged.png").write_bytes(drawn[1].content[:200])
    (beside / "consent.pdf").write_bytes(b"%PDF-1.4")
    (beside / "._IM-0001.jpeg").write_bytes(b"resource fork")
    return folder


def in_splits(one: Drawing, names: tuple[str, str, str] = ("train", "val", "test")) -> str:
    """The last patients of each label are given to validation and test."""
    return names[0 if one.patient < PATIENTS - 4 else 1 + one.patient % 2] + f"/{one.label}/{one.name}"


def kaggle(folder: Path, drawn: list[Drawing]) -> Path:
    save(folder / "chest_xray", drawn, in_splits)
    save(folder / "__MACOSX", drawn[:2], lambda one: f"train/{one.label}/._{one.name}")
    return save(folder, drawn, in_splits)


def table(folder: Path, drawn: list[Drawing]) -> Path:
    save(folder, drawn, lambda one: f"images/{one.number:03}.png")
    with (folder / "studies.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "patient", "split"])
        writer.writerows([f"images/{one.number:03}.png", one.label, f"P{one.patient}/{one.label}", "train"] for one in drawn)
        writer.writerow(["images/gone.png", "NORMAL", "P7", "train"])
    return folder / "studies.csv"


def nih(folder: Path, drawn: list[Drawing]) -> Path:
    """Names without folders, findings joined by a bar, and columns of other names, in Parquet."""
    save(folder, drawn, lambda one: f"images_{one.number % 4:03}/images/{one.number:08}.png")
    lines = {
        "Image Index": [f"{one.number:08}.png" for one in drawn],
        "Finding Labels": [
            "Pneumonia|Effusion" if one.sick and one.number % 2 else ("No Finding", "Pneumonia")[one.sick] for one in drawn
        ],
        "Patient ID": [1000 * one.sick + one.patient for one in drawn],
    }
    parquet.write_table(Table.from_pydict(lines), folder / "entries.parquet")
    return folder / "entries.parquet"


def dicom(folder: Path, drawn: list[Drawing]) -> Path:
    for one in drawn:
        path = folder / f"{one.label}/{one.number}.dcm"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dicom_of(one.pixels, PatientID=f"{one.label}{one.patient}"))
    return folder


def of_labels(*folders: str) -> Callable[[Path, list[Drawing]], Path]:
    """A folder for each label: the first for healthy ones, the others for sick ones in turn."""
    sick = folders[1:]
    return lambda folder, drawn: save(
        folder, drawn, lambda one: f"{sick[one.number % len(sick)] if one.sick else folders[0]}/{one.name}"
    )


NIH_COLUMNS = {"path": "Image Index", "label": "Finding Labels", "patient": "Patient ID"}
TWO = {"positive": "BACTERIA,virus", "names": ("NORMAL", "PNEUMONIA")}

SHAPES = {
    "labels": Shape(of_labels("NORMAL", "PNEUMONIA")),
    "labels with a folder for each patient": Shape(
        lambda folder, drawn: save(folder, drawn, lambda one: f"{one.label}/{one.patient}/{one.number}.png"),
        {"patient": r"(?P<patient>\w+/\d+)/"},
    ),
    "train alone, one folder deeper": Shape(
        lambda folder, drawn: save(folder, drawn, lambda one: f"chest_xray/train/{one.label}/{one.name}")
    ),
    "three splits": Shape(lambda folder, drawn: save(folder, drawn, in_splits)),
    "three splits in other words": Shape(
        lambda folder, drawn: save(folder, drawn, lambda one: in_splits(one, ("Training", "valid", "TESTING")))
    ),
    "as Kaggle's archive unpacks": Shape(kaggle),
    "a table": Shape(table),
    "a table as NIH ships it": Shape(nih, {"columns": NIH_COLUMNS, "positive": "pneumonia"}, ("No Finding", "Pneumonia")),
    "DICOM": Shape(dicom),
    "three labels": Shape(of_labels("normal", "BACTERIA", "VIRUS"), TWO),
    "labels of another language": Shape(
        of_labels("gesund", "schwer entzündet"), {"positive": "SCHWER ENTZÜNDET"}, ("gesund", "schwer entzündet")
    ),
    "letter case that differs": Shape(
        lambda folder, drawn: save(
            folder, drawn, lambda one: in_splits(one).replace("NORMAL", ("NORMAL", "normal")[one.patient % 2])
        ),
        labels=("normal", "PNEUMONIA"),  # as the first of its files has it
    ),
    "no folders": Shape(
        lambda folder, drawn: save(folder, drawn, lambda one: one.name),
        error=r"found \d+ \.jpeg.*images: none; two labels or more are needed.*train/LABEL.*--data path/to/labels\.csv",
    ),
    "one label": Shape(of_labels("NORMAL", "NORMAL"), error=r"folders with images: NORMAL/ \(\d+\); two labels or more"),
    "three labels that nobody grouped": Shape(
        of_labels("NORMAL", "BACTERIA", "VIRUS"), error=r"BACTERIA \(\d+\), NORMAL \(\d+\), VIRUS \(\d+\); say which"
    ),
    "too few patients": Shape(
        lambda folder, drawn: save(folder, [one for one in drawn if one.patient < 6], lambda one: f"{one.label}/{one.name}"),
        error=r"«NORMAL» has 6 patients to train on, outside given splits and without copies; at least 20",
    ),
    "two data sets": Shape(
        lambda folder, drawn: save(folder, drawn, lambda one: f"{'ab'[one.patient % 2]}/{in_splits(one)}"),
        error="a/ and b/ have splits in them; name one of them",
    ),
    "a table without labels": Shape(
        table, {"columns": {"label": "Finding"}}, error=r"no column «Finding», only path, label"
    ),
}  # fmt: skip


TRAINED = [name for name, shape in SHAPES.items() if not shape.error]
