"""Measures a finished model on labelled images, and prints each figure with its 95 % interval over patients.

  python -m training evaluate --model models/default path/to/labelled --csv answers.csv

The images lie in any layout that training takes. The CSV file gets a line for each image."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from training import files
from training.config import ConfigError, Data
from training.data import scan
from training.data.manifest import DataError, Record
from training.graph import inference, model_folder, seen
from training.graph.inference import Predictions
from training.report import metrics, overview
from training.report.elsewhere import PATIENTS
from training.stages import evaluate

ROWS = {
    "images": "images", "patients": "patients", "auroc": "AUROC", "accuracy": "accuracy", "sensitivity": "sensitivity",
    "specificity": "specificity", "f1": "F1", "ece": "calibration error (ECE)", "uncertain": "called uncertain",
    "unusual": "called unusual or foreign", "foreign": "called foreign",
}  # fmt: skip


def run(model: Path, data: Data, table: Path | None) -> None:
    """Raises DataError, as `scan.scan_labelled`, or if there are too few patients for an interval; ConfigError if `table` is
    there already, or cannot be written."""
    if table and (table.exists() or not table.parent.is_dir()):
        raise ConfigError(f"--csv {table}: " + ("exists" if table.exists() else f"there is no folder {table.parent}"))
    classifier = model_folder.load(model)
    description = classifier.artefact.description
    found = scan.scan_labelled(data, description)
    records = found.records
    check_enough(records)
    overview.brief(found, Path(data.folder))
    predictions = inference.predict(classifier, Path(data.folder), records)
    show(f"{model} at 0.5; {description.positive} is positive", evaluate.measure(predictions, description))
    if warning := seen.warning(model, records):
        print(warning)
    if table:
        write(table, predictions)
        print(table)


def check_enough(records: Sequence[Record]) -> None:
    for label in sorted({record.label for record in records}):
        count = len({record.patient for record in records if record.label == label})
        if count < PATIENTS:
            raise DataError(f"«{label}» has {count} patients; at least {PATIENTS} are needed, since fewer show nothing")


def show(title: str, found: dict[str, Any]) -> None:  # Any: as in `metrics.measure`
    print(title)
    for row, name in ROWS.items():
        print(f"  {name:26}{metrics.text(found[row])}")


def write(table: Path, predictions: Predictions) -> None:
    with files.atomic_write(table) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "probability", "right", "novelty"])
        for record, truth, probability, novelty in zip(*predictions, strict=True):
            right = str((probability >= 0.5) == truth).lower()
            writer.writerow([record.path, record.label, f"{probability:.6f}", right, f"{novelty:.3f}"])
