"""Reads the test fold once for each locked model; `test.json` in the run folder logs every reading and keeps its result.

The rule: a reading is logged before it begins, so that one that fails is on record too; and a result that was read stands."""

import datetime
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from service.model.artefact import Artefact
from service.model.classifier import Classifier
from training import files
from training.data.manifest import DataError, Record
from training.graph import inference
from training.graph.inference import Predictions

READINGS = "test.json"  # in a run folder

T = TypeVar("T")


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One reading of the test fold. `result`: null if the reading did not finish."""

    variant: str
    locked: str  # `lock` of the model
    data: str = "test"  # the test fold, or the name of another hospital
    time: str
    images: int
    result: msgspec.Raw = msgspec.Raw(b"null")


def predict(run_dir: Path, classifier: Classifier, folder: Path, test: Sequence[Record], data: str = "test") -> Predictions:
    """Predictions for the test fold, or for another hospital's images. A model that has read them before keeps its first ones.
    Raises DataError, as `read_once`."""

    def read() -> dict[str, tuple[float, float]]:
        found = inference.predict(classifier, folder, test)
        values = zip(found.probability.tolist(), found.novelty.tolist(), strict=True)
        return {record.path: value for record, value in zip(test, values, strict=True)}

    kept = read_once(run_dir, classifier.artefact, len(test), read, dict[str, tuple[float, float]], data)
    probability, novelty = np.array([kept[record.path] for record in test]).T
    return Predictions(list(test), inference.truth_of(test, classifier.artefact.description), probability, novelty)


def read_once(run_dir: Path, artefact: Artefact, images: int, read: Callable[[], T], kind: type[T], data: str = "test") -> T:
    """The result of `read`, or of the first such reading of `data` by the same locked model. Raises DataError if the log is
    damaged."""
    readings, locked = _read_log(run_dir), lock(artefact)
    for reading in readings:
        if (reading.locked, reading.data) == (locked, data) and bytes(reading.result) != b"null":
            print(f"{artefact.variant} has read the images of «{data}» before: its first result stands")
            return msgspec.json.decode(reading.result, type=kind)
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    reading = Reading(variant=artefact.variant, locked=locked, data=data, time=now, images=images)
    files.write_json(run_dir / READINGS, [*readings, reading])
    result = read()
    reading = msgspec.structs.replace(reading, result=msgspec.Raw(msgspec.json.encode(result)))
    files.write_json(run_dir / READINGS, [*readings, reading])
    return result


def lock(artefact: Artefact) -> str:
    """SHA-256 over all that decides a variant's answers: graph with its calibration, thresholds and novelty cut-offs."""
    description = artefact.description
    return hashlib.sha256(msgspec.json.encode([artefact.sha256, description.thresholds, description.novelty])).hexdigest()


def number_of(run_dir: Path, artefact: Artefact) -> int:
    """The position of this model's first reading of the test fold among all of the run, counted from 1."""
    return [reading.locked for reading in _read_log(run_dir) if reading.data == "test"].index(lock(artefact)) + 1


def _read_log(run_dir: Path) -> list[Reading]:
    path = run_dir / READINGS
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[Reading]) if path.exists() else []
    except msgspec.DecodeError as error:
        raise DataError(f"{path} is damaged ({error})") from error
