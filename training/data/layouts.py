"""Finds the images of a data folder, and the label and the split that each was given, by looking at its folders.

LABEL/**                             two or more labels; a label's images may lie at any depth
{train,val,test}/LABEL/**            in any letter case, also training, valid, validation, testing
any of them one folder deeper        as archives unpack: chest_xray/chest_xray/train/…

A table tells it instead where there is one: see `tables.py`."""

import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from training.data.manifest import DataError

TRAIN, VAL, TEST = "train", "val", "test"  # the splits that a folder or a table can give
SPLITS = {
    "train": TRAIN, "training": TRAIN, "val": VAL, "valid": VAL, "validation": VAL, "test": TEST, "testing": TEST,
}  # fmt: skip
SUFFIXES = {".jpeg", ".jpg", ".png", ".dcm", ".dicom"}
SHOWN = 6  # folders, or kinds of files, that an error names

SHAPES = """these work:
  LABEL/…                    a folder for each label, with its images at any depth
  train/LABEL/…              the same; beside it val/ and test/, if there are any
  a table                    CSV or Parquet with the columns path and label: --data path/to/labels.csv"""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """An image file that is not read yet. `label`: as its folder or table calls it. `split`: TRAIN, VAL, TEST, or empty where
    none is given. `patient`: as a table calls him, or empty."""

    path: str  # relative to the data folder
    label: str
    split: str = ""
    patient: str = ""


@dataclass(frozen=True)
class Listing:
    """The images of a data folder by path; how many other files were passed over, by what they are; and, if there is a table,
    the names of its columns for path, label, patient and split, as far as it has them."""

    files: list[File]
    passed_over: Counter[str]
    columns: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tree:
    """All files below a folder: the images as parts of their paths, sorted, and the number of others by suffix or by name."""

    folder: Path
    images: list[tuple[str, ...]]
    others: Counter[str] = field(default_factory=Counter)


def find(folder: Path) -> Listing:
    """Raises DataError, which shows what is there and what would work, if the folder has no such layout."""
    tree = walk(folder)
    start = _start(tree)
    below = [(parts, parts[len(start) :]) for parts in tree.images if parts[: len(start)] == start]
    has_splits = any(rest[0].lower() in SPLITS for _, rest in below if len(rest) > 1)
    levels = 2 if has_splits else 1
    files, passed_over = [], Counter(tree.others)
    passed_over["images outside " + "/".join((*start, "train" if has_splits else "LABEL"))] += len(tree.images) - len(below)
    for parts, rest in below:
        if len(rest) <= levels or (has_splits and rest[0].lower() not in SPLITS):
            where = f"in {rest[0]}/, which is none of {', '.join(SPLITS)}" if len(rest) > levels else "in no label's folder"
            passed_over[f"images {where}"] += 1
        else:
            split = SPLITS[rest[0].lower()] if has_splits else ""
            if not split and len(rest) > 2 and rest[1].lower() in SPLITS:
                raise DataError(f"{folder}: the split is below the label in {'/'.join(parts)}; put {rest[1]}/ above the labels")
            files.append(File(path="/".join(parts), label=rest[levels - 1], split=split))
    if len({file.label for file in files}) < 2:
        raise DataError(f"{describe(tree)}; two labels or more are needed, and {SHAPES}")
    return Listing(unify(files), +passed_over)


def walk(folder: Path) -> Tree:
    """Looks at every file below `folder`, links followed. Hidden files and folders are counted, and not entered. Raises
    DataError if there is no such folder."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    images, others, seen = [], Counter[str](), set()
    for parent, folders, names in os.walk(folder, followlinks=True, onerror=_refuse):
        place, here = Path(parent).stat(), Path(parent).relative_to(folder).parts
        if (place.st_dev, place.st_ino) in seen:  # a link back to a folder above it
            folders.clear()
            continue
        seen.add((place.st_dev, place.st_ino))
        hidden = [name for name in (*folders, *names) if is_hidden(name)]
        others["hidden"] += len(hidden)
        folders[:] = [name for name in folders if name not in hidden]
        for name in names:
            suffix = Path(name).suffix.lower()
            if suffix in SUFFIXES and name not in hidden:
                images.append((*here, name))
            elif name not in hidden:
                others[suffix or name] += 1
    return Tree(folder, sorted(images), +others)


def is_hidden(name: str) -> bool:
    """Whether other programs leave such a file or folder: .DS_Store, ._image.jpeg, .ipynb_checkpoints, __MACOSX, Thumbs.db."""
    return name.startswith((".", "__")) or name.lower() in ("thumbs.db", "desktop.ini")


def describe(tree: Tree) -> str:
    """What is in a folder, for an error."""
    kinds = Counter(Path(parts[-1]).suffix.lower() for parts in tree.images) + tree.others
    folders = Counter("/".join(parts[:-1][:3]) for parts in tree.images if len(parts) > 1)
    files = ", ".join(f"{count:,} {kind}" for kind, count in kinds.most_common(SHOWN)) or "no files"
    names = ", ".join(f"{name}/ ({count:,})" for name, count in folders.most_common(SHOWN)) or "none"
    more = ", …" * (len(folders) > SHOWN)
    return f"{tree.folder}: found {files}; folders with images: {names}{more}"


def unify(files: Sequence[File]) -> list[File]:
    """Gives labels that differ only in letter case or in how Unicode writes them the first one's spelling."""
    spelling: dict[str, str] = {}
    return [msgspec.structs.replace(file, label=spelling.setdefault(same_word(file.label), file.label)) for file in files]


def same_word(label: str) -> str:
    """A key that labels share if people would call them the same."""
    return " ".join(unicodedata.normalize("NFKC", label).casefold().split())


def _refuse(error: OSError) -> None:
    raise DataError(f"{error.filename}: cannot be read ({error.strerror})") from error


def _start(tree: Tree) -> tuple[str, ...]:
    """The folder in which the labels or splits are, as parts of its path: enters a folder as long as it is the only one with
    images that are deep enough, or the only one with splits. Raises DataError if several have splits."""
    start: tuple[str, ...] = ()
    while True:
        inside = [parts[len(start) :] for parts in tree.images if parts[: len(start)] == start]
        first = sorted({parts[0] for parts in inside if len(parts) > 1})
        if any(name.lower() in SPLITS for name in first):
            return start
        with_splits = sorted({parts[0] for parts in inside if len(parts) > 3 and parts[1].lower() in SPLITS})
        deep = all(len(parts) > 2 for parts in inside)
        if len(with_splits) > 1:
            folders = " and ".join(f"{name}/" for name in with_splits)
            raise DataError(f"{tree.folder}: {folders} have splits in them; name one of them, or put train/ above the labels")
        if not with_splits and not (len(first) == 1 and deep):
            return start
        start = (*start, *(with_splits or first))
