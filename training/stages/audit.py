"""Stage 1: reads every image and splits them by patient; looks for shortcuts. Writes `manifest.csv` and `audit.json`."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from training import files
from training.config import Config
from training.data import layouts, manifest, patients, properties, splits
from training.data.manifest import DataError, Record
from training.report import shortcuts
from training.report.shortcuts import Shortcut

SHOWN = 10  # files of each kind that are named on the terminal; `manifest.csv` names all

REASONS = {
    "duplicate": "the same bytes as another file", "contradictory": "the same bytes under both labels",
    "unreadable": "cannot be decoded",
}  # fmt: skip


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
    """Scans the data folder, assigns a split to every file, and prints a summary. Raises DataError if a split lacks a label or
    has too few patients of it to calibrate on, or if two splits share a patient."""
    folder = Path(config.data.folder)
    records = splits.split(layouts.scan(folder), config.data, config.seed)
    labels, summary = manifest.label_names(records, config.data.positive), summarise(records)
    splits.check_leaks(records)
    show(records, summary, labels, folder)
    for split in splits.USED:
        for label in labels:
            if not summary["splits"].get(split, {}).get(label):
                raise DataError(f"the split «{split}» has no image of «{label}»: too few images, or all of one patient")
    for label in labels:
        patients = {record.patient for record in records if (record.split, record.label) == (splits.SHIFTED, label)}
        if len(patients) < (least := splits.CALIBRATION_PATIENTS):
            needed = f"{least} are needed: more images, or a larger data.shifted_fraction than {config.data.shifted_fraction:g}"
            raise DataError(f"the split «shifted» has {len(patients)} patients of «{label}» to calibrate on, and {needed}")
    return records


def find_shortcuts(config: Config, records: Sequence[Record]) -> list[Shortcut]:
    """How well properties of the image files tell the label, on all images outside the test split."""
    used = manifest.of_split(records, splits.TRAIN, splits.VAL, splits.SHIFTED)
    table = properties.measure_all(Path(config.data.folder), used, config.data.properties)
    truth = np.array([record.label == config.data.positive for record in used])
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
        "patients_shared_with_official_test": len(shared),
        "strict_test": len(splits.strict_test(records)) if shared else None,
    }


def show(records: Sequence[Record], summary: dict[str, Any], labels: list[str], folder: Path) -> None:
    print(f"{len(records):,} files in {folder}")
    used = [split for split in (*splits.USED, *splits.LEFT_OUT) if split in summary["splits"]]
    _print_table("images", {label: [summary["splits"][split][label] for split in used] for label in labels}, used)
    _print_table("series", {name: [counts[split] for split in used] for name, counts in summary["series"].items()}, used)
    sizes: dict[str, list[str]] = {}
    for label, sides in summary["sizes"].items():
        sizes |= {f"{label}, {side}": [f"{value:g}" for value in values] for side, values in sides.items()}
    _print_table("sizes", sizes, ["least", "median", "greatest"])
    for split, reason in REASONS.items():
        lines = [f"  {r.path}{': ' * bool(r.problem)}{r.problem}" for r in records if r.split == split]
        if lines:
            print(f"left out, {reason}: {len(lines)}", *lines[:SHOWN], *["  …"] * (len(lines) > SHOWN), sep="\n")
    if others := layouts.count_other_files(folder):
        print("note: ignored, not JPEG, PNG or DICOM: " + ", ".join(f"{count} {suffix}" for suffix, count in others.items()))
    if unknown := summary["without_patient"]:
        print(f"warning: {unknown:,} of {len(records):,} file names tell no patient, as IM-0115-0001 and person1_virus_6 do:")
        print("         images of one person may stand in several splits, and all figures may flatter the model")
    if shared := splits.official_overlap(records):
        print(f"note: {len(shared)} patient names, such as {shared[0]}, occur both in the official test split and outside it;")
        print(f"      the {summary['strict_test']} test images of other patients are also measured alone, as «strict test»")


def _sizes(records: Sequence[Record]) -> dict[str, list[float]]:
    width, height = np.array([(record.width, record.height) for record in records]).T
    sides = {"width": width, "height": height, "width / height": width / height}
    return {side: [round(float(value), 3) for value in np.quantile(values, (0, 0.5, 1))] for side, values in sides.items()}


def _print_table(title: str, rows: dict[str, list[Any]], columns: Sequence[str]) -> None:  # Any: numbers and texts
    width = max(len(name) for name in [title, *rows])
    print(f"  {title:{width}}" + "".join(f"{column:>15}" for column in columns))
    for name, values in rows.items():
        print(f"  {name:{width}}" + "".join(f"{value:>15}" for value in values))
