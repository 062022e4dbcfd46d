"""Writes the results as CSV, JSON lines or Parquet, with the same columns. The file appears complete or not at all."""

import csv
import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import msgspec

from service.archive.entries import Entry
from service.errors import ArchiveError
from service.model.prediction import DISCLAIMER

Value: TypeAlias = str | int | float | bool | list[str] | None
Row: TypeAlias = dict[str, Value]  # by column

ROW_GROUP = 10_000  # rows
PROBABILITY = "probability_"
FORMULA = ("=", "+", "-", "@", "\t", "\r")


def check(out: Path) -> None:
    """Raises ArchiveError if results cannot be written there."""
    if out.suffix not in WRITERS:
        problem = f"its name must end with {', '.join(WRITERS)}"
    elif out.is_dir():
        problem = "is a folder"
    elif out.exists():
        problem = "is there already, so that run was finished; remove it, or name another"
    elif not os.access(out.parent, os.W_OK | os.X_OK):
        problem = f"nothing can be written in {out.parent}"
    elif out.suffix == ".parquet" and not importlib.util.find_spec("pyarrow"):
        problem = "Parquet needs pyarrow: pip install 'pyarrow>=26'"
    else:
        return
    raise ArchiveError(f"--out {out}: {problem}")


def write(out: Path, entries: Iterable[Entry], labels: Sequence[str]) -> None:
    """Writes a temporary file and renames it. Raises ArchiveError if that fails."""
    temporary = out.with_name(out.name + ".tmp")
    try:
        WRITERS[out.suffix](temporary, (_row(entry, labels) for entry in entries), _columns(labels))
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(out)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ArchiveError(f"--out {out}: {error.strerror or error}") from error


def _columns(labels: Sequence[str]) -> list[str]:
    """The fields of an entry except `mtime_ns`, with a column for the probability of each label."""
    _, *names = Entry.__struct_fields__
    place = names.index("probabilities")
    return [*names[:place], *(PROBABILITY + label for label in labels), *names[place + 1 :]]


def _row(entry: Entry, labels: Sequence[str]) -> Row:
    probabilities = {PROBABILITY + label: value for label, value in (entry.probabilities or {}).items()}
    values = msgspec.structs.asdict(entry) | probabilities
    return {column: values.get(column) for column in _columns(labels)}


def _write_csv(path: Path, rows: Iterable[Row], columns: Sequence[str]) -> None:
    def as_text(value: Value) -> Value:
        if isinstance(value, list):
            return " | ".join(value)
        if isinstance(value, str) and value.startswith(FORMULA):
            return "'" + value  # as text: a spreadsheet would run it
        return str(value).lower() if isinstance(value, bool) else value

    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns)  # lines end with \r\n: otherwise a carriage return in a name is not quoted
        writer.writeheader()
        writer.writerows({column: as_text(value) for column, value in row.items()} for row in rows)


def _write_lines(path: Path, rows: Iterable[Row], _: Sequence[str]) -> None:
    with path.open("wb") as file:
        file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)


def _write_parquet(path: Path, rows: Iterable[Row], columns: Sequence[str]) -> None:
    import pyarrow
    from pyarrow import parquet

    floats = ["confidence", "novelty", *(column for column in columns if column.startswith(PROBABILITY))]
    types = dict.fromkeys(columns, pyarrow.string()) | dict.fromkeys(floats, pyarrow.float64())
    texts = pyarrow.list_(pyarrow.string())
    types |= {
        "bytes": pyarrow.int64(),
        "uncertain": pyarrow.bool_(),
        "abstain": pyarrow.bool_(),
        "reasons": texts,
        "warnings": texts,
    }
    schema = pyarrow.schema(types, {"disclaimer": DISCLAIMER})
    remaining = iter(rows)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(islice(remaining, ROW_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema))


Writer: TypeAlias = Callable[[Path, Iterable[Row], Sequence[str]], None]
WRITERS: Mapping[str, Writer] = {".csv": _write_csv, ".jsonl": _write_lines, ".parquet": _write_parquet}
