"""Reads a table that says of each image its label, its patient, or its split, as archives and hospitals ship them.

`data.table` names a CSV or Parquet file; without it, `labels.csv` in the data folder is one. Columns: `path` or `file`, and any
of `label`, `patient` or `patient_id`, and `split`; other names are given in `data.columns`. What a table does not say, the
folders do. An image may be named by its path, by the end of it, or by its name alone, with its suffix or without."""

import csv
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec.structs import replace

from training.data.layouts import SPLITS, File, Tree
from training.data.manifest import DataError

NAMES = {"path": ("path", "file"), "label": ("label",), "patient": ("patient", "patient_id"), "split": ("split",)}
SEPARATOR = "|"  # between the labels of one image, as NIH has them

Rows = list[dict[str, str]]  # cells by column: those of NAMES that the table has


def read(path: Path, columns: Mapping[str, str]) -> Rows:
    """Raises DataError if the file cannot be read, or has no column for the path or one that `columns` names."""
    try:
        rows = _read_parquet(path) if path.suffix.lower() == ".parquet" else _read_csv(path)
    except (OSError, UnicodeDecodeError, csv.Error, ValueError) as error:  # the last: of pyarrow
        raise DataError(f"{path}: cannot be read as a table ({error})") from error
    if not rows:
        raise DataError(f"{path}: the table has no line")
    if bad := set(columns) - set(NAMES):
        raise DataError(f"data.columns: «{bad.pop()}» is none of {', '.join(NAMES)}")
    found = {name: [columns[name]] if name in columns else NAMES[name] for name in NAMES}
    known = {name: next((column for column in candidates if column in rows[0]), None) for name, candidates in found.items()}
    if missing := next((name for name in NAMES if known[name] is None and (name in columns or name == "path")), None):
        wanted = " or ".join(f"«{column}»" for column in found[missing])
        line = f'data.columns = {{{missing} = "…"}} names another'
        raise DataError(f"{path}: has no column {wanted}, only {', '.join(rows[0])}; {line}")
    return [{name: row[column].strip() for name, column in known.items() if column} for row in rows]


def join(rows: Rows, tree: Tree) -> tuple[dict[str, dict[str, str]], Counter[str]]:
    """The cells of each image by its path, and how many lines or images were passed over. Of several lines about one image, the
    labels are joined by SEPARATOR. Raises DataError if no line names an image."""
    places, passed_over = _places(tree), Counter[str]()
    cells: dict[str, dict[str, str]] = {}
    labels: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        path = _place_of(row["path"], places)
        if path is None:
            passed_over["lines of the table whose image is not there, or of a name that several images have"] += 1
        elif row.get("label") == "":
            passed_over["lines of the table without a label"] += 1
        else:
            labels[path].append(row.get("label", ""))
            cells[path] = row
    if not cells:
        raise DataError(f"no line of the table names an image in {tree.folder}, as «{rows[0]['path']}»")
    passed_over["images that the table does not name"] += len(tree.images) - len(cells)
    return {path: row | {"label": _joined(labels[path])} for path, row in cells.items()}, +passed_over


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


def _places(tree: Tree) -> dict[str, str | None]:
    """The path of each image by every name that it may have in a table; None where several images have that name."""
    places: dict[str, str | None] = {}
    for parts in tree.images:
        path = "/".join(parts)
        ends = ["/".join(parts[start:]) for start in range(len(parts))]
        for name in {*ends, *(end.removesuffix(Path(end).suffix) for end in ends)}:
            places[name] = path if places.get(name, path) == path else None
    return places | {"/".join(parts): "/".join(parts) for parts in tree.images}


def _place_of(name: str, places: Mapping[str, str | None]) -> str | None:
    """`CheXpert/train/patient1/view.jpg` also names `train/patient1/view.jpg`, where the folder above is not there."""
    parts = Path(name.replace("\\", "/")).parts
    ends: Iterable[str] = ("/".join(parts[start:]) for start in range(len(parts)))
    return next((places[end] for end in ends if end in places), None)


def _joined(labels: list[str]) -> str:
    return SEPARATOR.join(sorted({part.strip() for label in labels for part in label.split(SEPARATOR)}))


def _read_csv(path: Path) -> Rows:
    with path.open(newline="", encoding="utf-8-sig") as file:
        return [{name: cell or "" for name, cell in row.items() if name} for row in csv.DictReader(file)]


def _read_parquet(path: Path) -> Rows:
    try:
        from pyarrow import parquet
    except ImportError as error:
        raise DataError(f"{path}: Parquet needs pyarrow: pip install 'pyarrow>=26'") from error
    lines = parquet.read_table(path).to_pylist()
    return [{name: "" if cell is None else str(cell) for name, cell in line.items()} for line in lines]
