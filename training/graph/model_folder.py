"""Reads and writes the model folder; a write replaces the whole folder or nothing, even if the process is killed."""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import onnx

from service.model.artefact import DESCRIPTION as DESCRIPTION_FILE
from service.model.artefact import Artefact, Description, read_artefact, write_sums
from service.model.classifier import Classifier, self_test_image
from training import files

FP32, INT8 = "fp32", "int8"  # variants
GRAPH_FILE, INT8_FILE = "model.onnx", "model.int8.onnx"
EXAMPLES = "examples"  # a folder in it, of images that the service serves
# Of the self-test. CPUs differ by a few float32 roundings, and that alone moves the int8 probability by up to 0.003.
TOLERANCE = {FP32: 0.001, INT8: 0.01}
NETWORK_METRICS = ("fit", "anatomy", "uncalibrated")  # the part of model.json's `metrics` that a calibration does not change


def load(folder: Path, variant: str = FP32) -> Classifier:
    """The classifier that the service would load. Raises ArtefactError, as the service does."""
    return Classifier(_read(folder, variant))


def description_of(folder: Path) -> Description:
    """Raises ArtefactError, as `load` does."""
    return _read(folder, FP32).description


def network_metrics(description: Description) -> dict[str, Any]:
    """The metrics that do not depend on variants and calibration."""
    return {name: description.metrics[name] for name in NETWORK_METRICS if name in description.metrics}


def write(folder: Path, models: Mapping[str, onnx.ModelProto], description: Description) -> None:
    """Writes graphs (by variant), description and sums, and sets each variant's self-test from its own answer."""
    aside = beside(folder)
    aside.mkdir(parents=True)
    for name, model in models.items():
        (aside / description.variants[name].file).write_bytes(model.SerializeToString(deterministic=True))
    _write_description(aside, description)
    test = description.self_test
    image = self_test_image(test.height, test.width)
    positive = description.labels.index(description.positive)
    expected = {name: float(load(aside, name).classify([image]).probabilities[0, positive]) for name in models}
    test = msgspec.structs.replace(test, probability=expected, tolerance={name: TOLERANCE[name] for name in models})
    _write_description(aside, msgspec.structs.replace(description, self_test=test))
    put_in_place(aside, folder)


def rewrite_description(folder: Path, description: Description, examples: Mapping[str, bytes] | None = None) -> None:
    """Changes `model.json` and its sum, and replaces the examples if some are given; the graphs stay as they are."""
    aside = beside(folder)
    shutil.copytree(folder, aside)
    if examples is not None:
        shutil.rmtree(aside / EXAMPLES, ignore_errors=True)
        write_files(aside / EXAMPLES, examples)
    _write_description(aside, description)
    put_in_place(aside, folder)


def write_files(folder: Path, files: Mapping[str, bytes]) -> None:
    """`files`: contents by name. Raises OSError, if the folder exists too."""
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def put_in_place(aside: Path, folder: Path) -> None:
    """Renames `folder` away and `aside` into its place. A kill in between leaves both, whole, under hidden names."""
    for path in aside.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    old = _old(folder)
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def beside(folder: Path) -> Path:
    """A free path next to `folder`, where its replacement is written."""
    aside = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(aside, ignore_errors=True)
    return aside


def _read(folder: Path, variant: str) -> Artefact:
    old = _old(folder)
    if old.exists() and not folder.exists():  # a kill in `put_in_place`, between its two renames
        old.rename(folder)
    return read_artefact(folder, variant)


def _old(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def _write_description(folder: Path, description: Description) -> None:
    files.write_json(folder / DESCRIPTION_FILE, description)
    write_sums(folder, [DESCRIPTION_FILE, *(variant.file for variant in description.variants.values())])
