"""Reads a table that says of each image its label, its patient, or its split, as archives and hospitals ship them.

`data.table` names a CSV or Parquet file; without it, `labels.csv` in the data folder is one. Columns: `path` or `file`, and any
of `label`, `patient` or `patient_id`, and `split`, in any letter case; other names are given in `data.columns`. What a table
does not say, the folders do. An image may be named by its path, by the end of it, or by its name alone, with its suffix or
without."""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from training.data.layouts import SPLITS, File, Tree, same_word
from training.data.manifest import DataError

NAMES = {"path": ("path", "file"), "label": ("label",), "patient": ("patient", "patient_id"), "split": ("split",)}
SEPARATOR = "|"  # between the labels of one image, as NIH has them

Rows = list[dict[str, str]]  # cells by column: those of NAMES that the table has


def read(path: Path, columns: Mapping[str, str]) -> tuple[Rows, dict[str, str]]:
    """The lines of a table, and which of its columns they are from. Raises DataError if the file cannot be read, or has no
    column for the path or one that `columns` names."""
    try:
        rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: cannot be read as a table ({error}); save it as «CSV UTF-8»") from error
    except (OSError, csv.Error, ValueError) as error:  # the last: of pyarrow
        raise DataError(f"{path}: cannot be read as a table ({error})") from error
    if not rows:
        raise DataError(f"{path}: the table has no line")
    known = _choose_columns(path, list(rows[0]), columns)
    return [{name: row[column].strip() for name, column in known.items()} for row in rows], known


def join(rows: Rows, tree: Tree) -> tuple[dict[str, dict[str, str]], Counter[str]]:
    """The cells of each image by its path, and how many lines or images were passed over. Of several lines about one image, the
    labels are joined by SEPARATOR. Raises DataError if no line names an image, or if two contradict each other."""
    places, paths = _places(tree), {"/".join(parts) for parts in tree.images}
    missing, unlabelled, cells = list[str](), list[str](), dict[str, dict[str, str]]()
    labels: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        path = _place_of(row["path"], places, paths)
        if path is None:
            missing.append(row["path"])
        elif row.get("label") == "":
            unlabelled.append(row["path"])
        else:
            labels[path].append(row.get("label", ""))
            first = cells.setdefault(path, row)
            if bad := next((name for name in row if name != "label" and row[name] != first[name]), None):
                raise DataError(f"two lines of the table are about «{path}»: its {bad} is «{first[bad]}» and «{row[bad]}»")
    if not cells:
        raise DataError(f"no line of the table names an image in {tree.folder}, as «{rows[0]['path']}»")
    joined = {path: _joined(texts) for path, texts in labels.items()}
    _check_both(joined)
    unnamed = sorted(paths - set(cells))
    passed_over = _counted(
        {
            "lines of the table whose image is not there, or of a name that several images have": missing,
            "lines of the table without a label": unlabelled,
            "images that the table does not name": unnamed,
        }
    )
    return {path: row | {"label": joined[path]} for path, row in cells.items()}, passed_over


def files_of(cells: Mapping[str, Mapping[str, str]]) -> list[File]:
    """Of a table that has labels. Raises DataError if a split is none."""
    return add(cells, [File(path=path, label=row["label"]) for path, row in sorted(cells.items())])


def add(cells: Mapping[str, Mapping[str, str]], files: Iterable[File]) -> list[File]:
    """Adds the patients and splits of a table. Raises DataError if it lacks an image, or if a split is none."""
    found = []
    for file in files:
        if file.path not in cells:
            raise DataError(f"the table lacks «{file.path}»: it needs a line for each image")
        row = cells[file.path]
        if (split := row.get("split", "").lower()) and split not in SPLITS:
            raise DataError(f"the split of «{file.path}» in the table is «{split}»; known ones are {', '.join(SPLITS)}")
        found.append(replace(file, split=SPLITS[split] if split else file.split, patient=row.get("patient", "")))
    return found


def _check_both(joined: Mapping[str, str]) -> None:
    """Raises DataError if there are two labels and an image has both. Of more, several are usual."""
    simple = {part for label in joined.values() for part in label.split(SEPARATOR)}
    both = SEPARATOR.join(sorted(simple))
    if len(simple) == 2 and (path := next((path for path, label in joined.items() if label == both), None)):
        raise DataError(
            f"the table gives «{path}» both labels, {' and '.join(sorted(simple))}; correct it, or remove its lines"
        )


def _counted(names: Mapping[str, Sequence[str]]) -> Counter[str]:
    """How many there are of each kind, with the first one's name."""
    return Counter({f"{kind} (such as «{found[0]}»)": len(found) for kind, found in names.items() if found})


def _choose_columns(path: Path, header: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """The table's column for each of NAMES that it has."""
    if bad := next((name for name in given if name not in NAMES), None):
        raise DataError(f"data.columns: «{bad}» is none of {', '.join(NAMES)}")
    by_word: dict[str, str] = {}
    for title in header:
        if (other := by_word.setdefault(same_word(title), title)) is not title:
            raise DataError(f"{path}: the columns «{other}» and «{title}» have the same name")
    known = {}
    for name, usual in NAMES.items():
        candidates = [given[name]] if name in given else list(usual)
        column = next((by_word[same_word(each)] for each in candidates if same_word(each) in by_word), None)
        if column is not None:
            known[name] = column
        elif name in given or name == "path":
            wanted = " or ".join(f"«{each}»" for each in candidates)
            line = 'columns = {path = "…", label = "…", patient = "…"} below [data] of a TOML file (--config) names them'
            raise DataError(f"{path}: has no column {wanted}, only {', '.join(header)}; {line}")
    return known


def _places(tree: Tree) -> dict[str, str | None]:
    """The path of each image by every end of it, with its suffix and without; None where several images have that end."""
    places: dict[str, str | None] = {}
    for parts in tree.images:
        path = "/".join(parts)
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        for name in {*ends, *(end.removesuffix(Path(end).suffix) for end in ends)}:
            places[name] = path if places.get(name, path) == path else None
    return places | {"/".join(parts): "/".join(parts) for parts in tree.images}


def _place_of(name: str, places: Mapping[str, str | None], paths: set[str]) -> str | None:
    """A name may have folders before it that are not there, as CheXpert-v1.0/train/p1/view.jpg. What is left of it is then a
    whole path: an end alone, such as view.jpg, could be another patient's."""
    parts = Path(name.replace("\\", "/")).parts
    whole = "/".join(parts)
    if whole in places:
        return places[whole]
    rests = ("/".join(parts[start:]) for start in range(1, len(parts) - 1))
    return next((rest for rest in rests if rest in paths), None)


def _joined(labels: Sequence[str]) -> str:
    return SEPARATOR.join(sorted({part.strip() for label in labels for part in label.split(SEPARATOR)} - {""}))


def _read_csv(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8-sig") as file:
        header = file.readline()
        file.seek(0)
        delimiter = max(",;\t", key=header.count)
        lines = [line for line in csv.reader(file, delimiter=delimiter) if line]
    names, *rest = lines or [[]]
    return [dict(zip(names, [*line, *[""] * len(names)], strict=False)) for line in rest if names]


def _read_parquet(path: Path) -> Rows:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path}: Parquet needs pyarrow: pip install 'pyarrow>=26'") from error
    return [{name: _text(cell) for name, cell in line.items()} for line in parquet.read_table(path).to_pylist()]


def _text(cell: Any) -> str:  # Any: whatever Parquet holds
    if cell is None or cell != cell:  # the latter: NaN
        return ""
    if isinstance(cell, list):
        return SEPARATOR.join(map(_text, cell))
    return cell.decode(errors="replace") if isinstance(cell, bytes) else str(cell)
