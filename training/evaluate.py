"""Stage 5: the exported file, through the service's own classifier, on both validations and, once, on the test fold.

python -m training evaluate --run runs/1
"""

import datetime
import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from service.artefact import Artefact, Description
from service.classifier import Classifier
from training import data, metrics, model_folder
from training.config import Config
from training.data import Record

TEST_READS = "test_reads.jsonl"
TEST_RESULT = "test_result.json"


class TestRead(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the log: which model read the test fold, and when. `locked`: hash of all that decides its answers."""

    locked: str
    time: str
    images: int


class TestResult(msgspec.Struct, frozen=True, kw_only=True):
    locked: str
    metrics: dict[str, Any]  # Any: as metrics.measure gives them


def run(config: Config, run_dir: Path) -> None:
    """Adds `metrics` to `model.json`. A model that has read the test fold keeps that result."""
    records = data.read_manifest(run_dir / "manifest.csv")
    classifier = model_folder.load(run_dir / "model")
    description = classifier.artefact.description
    results = {name: measure(classifier, config, data.of_split(records, name)) for name in ("val", "shifted")}
    results["test"] = test_once(classifier, config, data.of_split(records, "test"), run_dir)
    description = msgspec.structs.replace(description, metrics={**description.metrics, **results})
    model_folder.rewrite_description(run_dir / "model", description)
    print_table(description)


def measure(classifier: Classifier, config: Config, records: list[Record]) -> dict[str, Any]:
    outputs = model_folder.classify(classifier, Path(config.data.folder), records)
    probability = outputs.probabilities[:, classifier.artefact.description.labels.index(config.data.positive)]
    truth = np.array([record.label == config.data.positive for record in records])
    result = metrics.measure(truth, probability.astype(np.float64), [record.patient for record in records])
    thresholds = classifier.artefact.description.thresholds
    result["uncertain"] = float(((probability >= thresholds.screening) & (probability < thresholds.rule_in)).mean())
    result["unusual"] = float((outputs.novelty >= classifier.artefact.description.novelty.unusual).mean())
    return result


def test_once(classifier: Classifier, config: Config, records: list[Record], run_dir: Path) -> dict[str, Any]:
    """Measured, or the result of this very model's earlier reading. The line is logged before the reading, so that one
    that fails is on record too."""
    locked, kept = lock(classifier.artefact), run_dir / TEST_RESULT
    if kept.exists():
        result = msgspec.json.decode(kept.read_bytes(), type=TestResult)
        if result.locked == locked:
            print("this model has read its test fold before: the result stands")
            return result.metrics
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with (run_dir / TEST_READS).open("a+b") as log:
        log.seek(0)
        reading = 1 + len(log.readlines())
        log.write(msgspec.json.encode(TestRead(locked=locked, time=now, images=len(records))) + b"\n")
    measured = {**measure(classifier, config, records), "reading": reading}
    kept.write_bytes(msgspec.json.encode(TestResult(locked=locked, metrics=measured)))
    return measured


def lock(artefact: Artefact) -> str:
    """SHA-256 of the graph (calibration included), the thresholds and the novelty cut-offs."""
    description = artefact.description
    return hashlib.sha256(msgspec.json.encode([artefact.sha256, description.thresholds, description.novelty])).hexdigest()


def print_table(description: Description) -> None:
    rows = ("auroc", "accuracy", "sensitivity", "specificity", "f1", "ece", "uncertain")
    print(f"{'at 0.5':12}" + "".join(f"{split:>26}" for split in ("val", "shifted", "test")))
    for row in rows:
        cells = [metrics.text(description.metrics[split][row]) for split in ("val", "shifted", "test")]
        print(f"{row:12}" + "".join(f"{cell:>26}" for cell in cells))
