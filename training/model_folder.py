"""The model folder from training's side: written whole or not at all, and measured through the service's own classes."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx

from service.artefact import DESCRIPTION as DESCRIPTION_FILE
from service.artefact import Description, read_artefact, write_sums
from service.classifier import Classifier, Outputs, self_test_image
from training import data
from training.data import Record
from training.progress import track

GRAPH_FILE = "model.onnx"
FP32 = "fp32"
BATCH = 16


def load(folder: Path) -> Classifier:
    """Raises ArtefactError, as the service would."""
    return Classifier(read_artefact(folder, FP32))


def classify(classifier: Classifier, folder: Path, records: Sequence[Record]) -> Outputs:
    """Images of a data folder, decoded and classified just as they are served."""
    batches = [records[start : start + BATCH] for start in range(0, len(records), BATCH)]
    parts = [classifier.classify([data.read_image(folder, record) for record in batch]) for batch in track(batches, "classify")]
    return Outputs(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def write(folder: Path, model: onnx.ModelProto, description: Description) -> None:
    """Write graph, description and sums beside `folder`, let the new model set its own self-test, then put it in place."""
    aside = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    (aside / GRAPH_FILE).write_bytes(model.SerializeToString(deterministic=True))
    _write_description(aside, description)
    test = description.self_test
    probabilities = load(aside).classify([self_test_image(test.height, test.width)]).probabilities[0]
    expected = float(probabilities[description.labels.index(description.positive)])
    test = msgspec.structs.replace(test, probability={FP32: expected})
    _write_description(aside, msgspec.structs.replace(description, self_test=test))
    put_in_place(aside, folder)


def rewrite_description(folder: Path, description: Description) -> None:
    """Change `model.json` alone; the graph stays as it is."""
    aside = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(folder, aside)
    _write_description(aside, description)
    put_in_place(aside, folder)


def put_in_place(aside: Path, folder: Path) -> None:
    """Two renames: a kill between them leaves the whole new folder as `.tmp` and the whole old one as `.old`."""
    for path in aside.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    aside.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def _write_description(folder: Path, description: Description) -> None:
    content = msgspec.json.format(msgspec.json.encode(description), indent=2)
    (folder / DESCRIPTION_FILE).write_bytes(content + b"\n")
    write_sums(folder, [DESCRIPTION_FILE, *(variant.file for variant in description.variants.values())])
