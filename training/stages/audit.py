"""Stage 1: reads every image and splits them by patient; looks for shortcuts. Writes `manifest.csv` and `audit.json`."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training import files
from training.config import Config
from training.data import manifest, patients, properties, scan, splits
from training.data.manifest import DataError, Record
from training.report import overview, shortcuts
from training.report.shortcuts import Shortcut


def run(config: Config, run_dir: Path) -> None:
    """Raises DataError, as `cut`, or if the run began with other images."""
    records = cut(config)
    if (run_dir / manifest.MANIFEST).exists() and manifest.read_manifest(run_dir / manifest.MANIFEST) != records:
        raise DataError(f"{config.data.folder}: the images are not those that {run_dir} began with; start a new run")
    manifest.write_table(records, run_dir / manifest.MANIFEST)
    found = find_shortcuts(config, records)
    shortcuts.show(found)
    files.write_json(run_dir / manifest.AUDIT, summarise(records) | {"shortcuts": found})


def cut(config: Config) -> list[Record]:
    """Scans the data folder, assigns a split to every file, and prints a summary. Raises DataError if there are too few
    patients of a label, if a split lacks a label, or if two splits share a patient."""
    found = scan.scan(config.data)
    splits.check_enough(found.records)
    records = splits.split(found.records, config.data, config.seed)
    splits.check_leaks(records)
    overview.show(found, records, summarise(records), Path(config.data.folder))
    splits.check_complete(records)
    return records


def find_shortcuts(config: Config, records: Sequence[Record]) -> list[Shortcut]:
    """How well properties of the image files tell the label, on all images outside the test split."""
    used = manifest.of_split(records, splits.TRAIN, splits.VAL, splits.SHIFTED)
    table = properties.measure_all(Path(config.data.folder), used, config.data.properties)
    truth = np.array([record.positive for record in used])
    return shortcuts.find(table, truth, [record.patient for record in used])


def summarise(records: Sequence[Record]) -> dict[str, Any]:
    """The summary for `model.json`: counts, no file names. Sizes in pixels: least, median, greatest."""
    by_split, by_series = (defaultdict[str, Counter[str]](Counter) for _ in range(2))
    read = [record for record in records if not record.problem]
    for record in records:
        by_split[record.split][record.label] += 1
        by_series[record.group][record.split] += 1
    shared = splits.official_overlap(records)
    return {
        "files": len(records),
        "splits": by_split,
        "series": dict(sorted(by_series.items())),
        "sizes": {label: _sizes([r for r in read if r.label == label]) for label in sorted({r.label for r in read})},
        "patients": {split: len({r.patient for r in records if r.split == split}) for split in splits.USED},
        "without_patient": sum(patients.is_unknown(record.patient) for record in records),
        "labels": {record.given_label: record.label for record in records},
        "patients_shared_with_official_test": len(shared),
        "strict_test": len(splits.strict_test(records)) if shared else None,
    }


def _sizes(records: Sequence[Record]) -> dict[str, list[float]]:
    width, height = np.array([(record.width, record.height) for record in records]).T
    sides = {"width": width, "height": height, "width / height": width / height}
    return {side: [round(float(value), 3) for value in np.quantile(values, (0, 0.5, 1))] for side, values in sides.items()}
