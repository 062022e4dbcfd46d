"""Stage 1: read every image once, cut the splits by patient, write `manifest.csv`.

python -m training audit --run runs/1
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from training import data
from training.config import Config
from training.data import DataError, Record

SPLITS = ("train", "val", "shifted", "test")


def run(config: Config, run_dir: Path) -> None:
    """Raises DataError: unreadable images, a label missing from a split, or a patient in two of our splits."""
    records = data.split(data.scan(Path(config.data.folder)), config.data, config.seed)
    labels = data.label_names(records, config.data.positive)
    check_leaks(records)
    counts = Counter((record.split, record.label) for record in records)
    for split in SPLITS:
        for label in labels:
            if not counts[split, label]:
                raise DataError(f"the split «{split}» has no image of «{label}»: the data are too few, or one patient's")
    data.write_manifest(records, run_dir / "manifest.csv")
    print(f"{len(records):,} images in {config.data.folder}; by split:")
    for split in (*SPLITS, "duplicate"):
        print(f"  {split:10}" + "".join(f"  {label} {counts[split, label]:>5,}" for label in labels))
    if unknown := data.anonymous(records):
        print(f"  note: {unknown:,} names tell no patient, as IM-0115-0001 and person1_virus_6 do: each is taken for its own")
    if shared := _official_overlap(records):
        print(f"  note: {len(shared)} patient names stand in the official test split and outside it, as {shared[0]}")


def check_leaks(records: Sequence[Record]) -> None:
    """Raises DataError: a patient, or the same bytes, in two of train, val, shifted and our own test."""
    for key in ("patient", "sha256"):
        home: dict[str, Record] = {}
        for record in records:
            if record.split == "duplicate" or record.official_split == "test":
                continue
            other = home.setdefault(getattr(record, key), record)
            if other.split != record.split:
                raise DataError(f"{key} shared by {other.path} ({other.split}) and {record.path} ({record.split})")


def _official_overlap(records: Sequence[Record]) -> list[str]:
    test = {record.patient for record in records if record.official_split == "test"}
    return sorted(test & {record.patient for record in records if record.official_split != "test"})
