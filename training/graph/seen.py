"""Which images a model has seen: fitted, chosen or calibrated on them. Its figures on those say little.

`seen.txt` in a model folder has the beginning of each image's SHA-256, so that images can be compared and none is told."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from training import files
from training.data.manifest import Record

FILE = "seen.txt"
DIGITS = 12  # of the hash: two of a million images share one with a probability of 0.2 %


def write(folder: Path, hashes: Iterable[str]) -> None:
    with files.atomic_write(folder / FILE) as temporary:
        temporary.write_text("".join(f"{digits}\n" for digits in sorted({each[:DIGITS] for each in hashes})))


def read(folder: Path) -> set[str]:
    """Empty if the model does not say."""
    path = folder / FILE
    return set(path.read_text().split()) if path.exists() else set()


def warning(folder: Path, records: Sequence[Record]) -> str | None:
    """What to know of a model before believing its figures on these images; None if it has seen none of them."""
    if not (known := read(folder)):
        return f"note: {folder} does not say which images it has seen; if these are among them, its figures flatter"
    count = sum(record.sha256[:DIGITS] in known for record in records)
    if not count:
        return None
    return f"WARNING: {folder} was fitted or calibrated on {count:,} of these {len(records):,} images; its figures here flatter"
