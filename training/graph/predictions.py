"""What an exported model answers to the images of a run, and the rule that it reads the test fold once.

`predictions.csv` keeps the answers, `test_reads.jsonl` a line for each reading of the test fold: which model, and when.
"""

import csv
import datetime
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from service.model.artefact import Artefact
from service.model.classifier import Classifier
from training import files
from training.config import Config
from training.data import manifest, splits
from training.data.manifest import DataError, Record
from training.graph import model_folder
from training.report.metrics import Bools, Floats

TEST_READS = "test_reads.jsonl"
PREDICTIONS = "predictions.csv"
MEASURED = (splits.VAL, splits.SHIFTED, splits.TEST)


class TestRead(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the log. `locked`: hash of all that decides the variant's answers."""

    variant: str
    locked: str
    time: str
    images: int


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `predictions.csv`. `probability`: of the positive label."""

    locked: str
    split: str
    path: str
    probability: float
    novelty: float


class Answers(NamedTuple):
    """To N images. `probability`: of the positive label."""

    records: list[Record]
    truth: Bools
    probability: Floats
    novelty: Floats

    def only(self, wanted: Callable[[Record], bool]) -> "Answers":
        index = [number for number, record in enumerate(self.records) if wanted(record)]
        return Answers([self.records[i] for i in index], self.truth[index], self.probability[index], self.novelty[index])

    @property
    def patients(self) -> list[str]:
        return [record.patient for record in self.records]


def answers(classifier: Classifier, config: Config, records: Sequence[Record], run_dir: Path) -> dict[str, Answers]:
    """By split: val, shifted, test. A model that has read the test fold keeps what it answered then."""
    locked = lock(classifier.artefact)
    kept = [line for line in read(run_dir / PREDICTIONS) if line.locked == locked and line.split == splits.TEST]
    lines = [line for split in (splits.VAL, splits.SHIFTED) for line in _predict(classifier, config, records, split, locked)]
    if kept:
        print("this model has read its test fold before: its answers stand")
    else:  # logged before the reading, so that one that fails is on record too
        log_reading(run_dir, classifier.artefact, len(manifest.of_split(records, splits.TEST)))
        kept = _predict(classifier, config, records, splits.TEST, locked)
    manifest.write_table([*lines, *kept], run_dir / PREDICTIONS)
    known = {record.path: record for record in records}
    return {split: _answers([line for line in (*lines, *kept) if line.split == split], known, config) for split in MEASURED}


def lock(artefact: Artefact) -> str:
    """SHA-256 of the graph (calibration included), the thresholds and the novelty cut-offs."""
    description = artefact.description
    return hashlib.sha256(msgspec.json.encode([artefact.sha256, description.thresholds, description.novelty])).hexdigest()


def log_reading(run_dir: Path, artefact: Artefact, images: int) -> None:
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    read = TestRead(variant=artefact.variant, locked=lock(artefact), time=now, images=images)
    files.append_line(run_dir / TEST_READS, msgspec.json.encode(read))


def reading(run_dir: Path, artefact: Artefact) -> int:
    """Which of the run's readings of the test fold was that of this variant, counted from 1."""
    lines = (run_dir / TEST_READS).read_bytes().splitlines()
    return [msgspec.json.decode(line)["locked"] for line in lines].index(lock(artefact)) + 1


def read(path: Path) -> list[Prediction]:
    """None, if there is no such file. Raises DataError: it is damaged."""
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return msgspec.convert(list(csv.DictReader(file)), list[Prediction], strict=False)
    except (msgspec.ValidationError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is damaged ({error})") from error


def _predict(classifier: Classifier, config: Config, records: Sequence[Record], split: str, locked: str) -> list[Prediction]:
    members = manifest.of_split(records, split)
    outputs = model_folder.classify(classifier, Path(config.data.folder), members)
    positive = classifier.artefact.description.labels.index(config.data.positive)
    return [
        Prediction(locked=locked, split=split, path=record.path, probability=float(probability), novelty=float(novelty))
        for record, probability, novelty in zip(members, outputs.probabilities[:, positive], outputs.novelty, strict=True)
    ]


def _answers(lines: Sequence[Prediction], known: dict[str, Record], config: Config) -> Answers:
    records = [known[line.path] for line in lines]
    return Answers(
        records,
        np.array([record.label == config.data.positive for record in records]),
        np.array([line.probability for line in lines]),
        np.array([line.novelty for line in lines]),
    )
