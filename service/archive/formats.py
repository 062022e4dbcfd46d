"""Results as CSV, JSON lines or Parquet: the same columns in each, in a file that is there whole or not at all."""

import csv
import importlib.util
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import msgspec

from service.archive.entries import Row
from service.errors import MedXferError
from service.model.prediction import DISCLAIMER

Value: TypeAlias = str | int | float | bool | list[str] | None
Columns: TypeAlias = dict[str, Value]  # of one row, by name

ROW_GROUP = 10_000  # rows
PROBABILITY = "probability_"


class OutError(MedXferError):
    """The results cannot be written there."""


def check(out: Path) -> None:
    """Before any image is read. Raises OutError."""
    if out.suffix not in WRITERS:
        raise OutError(f"--out {out}: its name must end with {', '.join(WRITERS)}")
    if out.is_dir():
        raise OutError(f"--out {out}: is a folder")
    if out.exists():
        raise OutError(f"--out {out}: is there already, so that run was finished; remove it, or name another")
    if not os.access(out.parent, os.W_OK | os.X_OK):
        raise OutError(f"--out {out}: nothing can be written in {out.parent}")
    if out.suffix == ".parquet" and not importlib.util.find_spec("pyarrow"):
        raise OutError(f"--out {out}: Parquet needs pyarrow: pip install 'pyarrow>=26'")


def write(out: Path, rows: Iterable[Row], labels: Sequence[str]) -> None:
    """Raises OutError."""
    aside = out.with_name(out.name + ".tmp")
    try:
        WRITERS[out.suffix](aside, (columns(row, labels) for row in rows), column_names(labels))
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(out)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise OutError(f"--out {out}: {error.strerror or error}") from error


def column_names(labels: Sequence[str]) -> list[str]:
    """Those of `Row`, with a column for the probability of each label."""
    names = list(Row.__struct_fields__)
    place = names.index("probabilities")
    return [*names[:place], *map(_probability_of, labels), *names[place + 1 :]]


def columns(row: Row, labels: Sequence[str]) -> Columns:
    probabilities = {_probability_of(label): (row.probabilities or {}).get(label) for label in labels}
    values = msgspec.structs.asdict(row) | probabilities
    return {name: values[name] for name in column_names(labels)}


def _probability_of(label: str) -> str:
    return f"{PROBABILITY}{label}"


def _write_csv(path: Path, rows: Iterable[Columns], names: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(
            file, names, lineterminator="\r\n"
        )  # with another, a carriage return in a name would not be quoted
        writer.writeheader()
        writer.writerows({name: _as_text(value) for name, value in row.items()} for row in rows)


def _as_text(value: Value) -> Value:
    if isinstance(value, list):
        return " | ".join(value)
    return str(value).lower() if isinstance(value, bool) else value


def _write_lines(path: Path, rows: Iterable[Columns], _: Sequence[str]) -> None:
    with path.open("wb") as file:
        file.writelines(msgspec.json.encode(row) + b"\n" for row in rows)


def _write_parquet(path: Path, rows: Iterable[Columns], names: Sequence[str]) -> None:
    import pyarrow
    from pyarrow import parquet

    kinds = {
        "bytes": pyarrow.int64(),
        "uncertain": pyarrow.bool_(),
        "warnings": pyarrow.list_(pyarrow.string()),
        **dict.fromkeys(
            ["confidence", "novelty", *(name for name in names if name.startswith(PROBABILITY))], pyarrow.float64()
        ),
    }
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in names], {"disclaimer": DISCLAIMER})
    remaining = iter(rows)
    with parquet.ParquetWriter(path, schema, compression="zstd") as writer:
        while group := list(islice(remaining, ROW_GROUP)):
            writer.write_table(pyarrow.Table.from_pylist(group, schema))


WRITERS: Mapping[str, Callable[[Path, Iterable[Columns], Sequence[str]], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_lines,
    ".parquet": _write_parquet,
}
