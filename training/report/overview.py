"""Prints what is in a data folder: images and patients by label and split, sizes, formats, and what is left out."""

import json
import textwrap
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from training.config import Config
from training.data import patients, splits
from training.data.manifest import Record
from training.data.scan import Scan

SHOWN = 10  # files of each kind that are named on the terminal; `manifest.csv` names all
FEW = 30  # images of a label in a validation; with fewer, one image more or less changes a figure by over 3 %

NAMELESS = """\
WARNING: nothing tells the patient of {unknown:,} of {images:,} images. Images of one person then count as several people,
and may be in several splits: every figure flatters, and intervals are too narrow. A table, or the pattern data.patient,
can tell the patient: training/README.md, «Patients»."""

REASONS = {
    "duplicate": "the same bytes as another file", "contradictory": "the same bytes under both labels",
    "unreadable": "cannot be decoded", "shared": "of a patient who is in the validation that was given",
}  # fmt: skip


def brief(found: Scan, folder: Path) -> None:
    """What was read, and what was passed over."""
    suffixes = Counter(Path(record.path).suffix.lower() for record in found.records)
    print(f"{len(found.records):,} images in {folder}: " + ", ".join(f"{count:,} {name}" for name, count in suffixes.items()))
    if found.columns:
        print("columns of the table: " + ", ".join(f"{name} is «{column}»" for name, column in found.columns.items()))
    if found.passed_over:
        print("passed over: " + ", ".join(f"{count:,} {kind}" for kind, count in found.passed_over.items()))
    if unknown := sum(patients.is_unknown(record.patient) for record in found.records):
        print(NAMELESS.format(unknown=unknown, images=len(found.records)))


def show(found: Scan, records: Sequence[Record], summary: Mapping[str, Any], folder: Path) -> None:
    """`records`: with their splits; `summary`: that of `audit.summarise`. Any: a tree of numbers, as in model.json."""
    brief(found, folder)
    used = [split for split in (*splits.USED, *splits.LEFT_OUT) if split in summary["splits"]]
    labels = sorted({record.label for record in records})
    print_table("images", {label: [summary["splits"][split].get(label, 0) for split in used] for label in labels}, used)
    print_table("patients", {label: [_patients(records, label, split) for split in used] for label in labels}, used)
    print_table("groups", {name: [counts[split] for split in used] for name, counts in summary["series"].items()}, used)
    sizes: dict[str, list[str]] = {}
    for label, sides in summary["sizes"].items():
        sizes |= {f"{label}, {side}": [f"{value:g}" for value in values] for side, values in sides.items()}
    print_table("sizes", sizes, ["least", "median", "greatest"])
    for split, reason in REASONS.items():
        lines = [f"  {r.path}{': ' * bool(r.problem)}{r.problem}" for r in records if r.split == split]
        if lines:
            print(f"left out, {reason}: {len(lines)}", *lines[:SHOWN], *["  …"] * (len(lines) > SHOWN), sep="\n")
    for note in notes(records, summary):
        print(note)


def notes(records: Sequence[Record], summary: Mapping[str, Any]) -> list[str]:
    """What to know of the splits before believing a figure of them."""
    found = []
    if shared := splits.official_overlap(records):
        found.append(
            f"WARNING: {len(shared)} patients, such as {shared[0]}, are both in the given test split and outside it;\n"
            f"the {summary['strict_test']} test images of other patients are also measured alone, as «strict test»"
        )
    for split in (splits.VAL, splits.TEST):
        given = Counter(record.label for record in records if record.official_split == record.split == split)
        if given and min(given.values()) < FEW:
            counts = ", ".join(f"{count} of {label}" for label, count in sorted(given.items()))
            found.append(
                f"note: the given split «{split}» is used as it is; its images are few ({counts}), so its figures are coarse"
            )
    return found


def show_configuration(choices: Config) -> None:
    """All keys with their values, a paragraph for each section; without those that are empty."""
    print("configuration")
    values = msgspec.json.decode(msgspec.json.encode(choices))
    sections = {name: section for name, section in values.items() if isinstance(section, dict)}
    for name, keys in {"": {key: value for key, value in values.items() if key not in sections}, **sections}.items():
        given = {key: value for key, value in keys.items() if value or value == 0}
        text = ", ".join(f"{key}\0=\0{json.dumps(value, ensure_ascii=False)}" for key, value in given.items())
        head = f"  {f'[{name}]' if name else '':12}"
        filled = textwrap.fill(text, 120, initial_indent=head, subsequent_indent=" " * 14, break_on_hyphens=False)
        print(filled.replace("\0", " "))  # where no line may break


def print_table(title: str, rows: Mapping[str, Sequence[Any]], columns: Sequence[str]) -> None:  # Any: numbers and texts
    width = max(len(name) for name in [title, *rows])
    print(f"  {title:{width}}" + "".join(f"{column:>15}" for column in columns))
    for name, values in rows.items():
        print(f"  {name:{width}}" + "".join(f"{value:>15}" for value in values))


def _patients(records: Sequence[Record], label: str, split: str) -> int:
    return len({record.patient for record in records if (record.label, record.split) == (label, split)})
