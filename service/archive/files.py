"""The files that a folder, a file or a glob names.

Hidden ones are left out. A link to a file is read like the file; links to folders are followed only where the glob names
that level, never by `**`, so that no loop is endless.
"""

import fnmatch
import glob
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from service.errors import MedXferError

SUFFIXES = {".jpg", ".jpeg", ".png", ".dcm", ".dicom"}
CONTENTS = "DICOMDIR"  # a table of what a medium holds: DICOM, but no image
ANY_DEPTH = "**"

_ESCAPE = re.compile(r"\\x[0-9a-f]{2}")


class NoFiles(MedXferError):
    """There is nothing to read."""


def find(images: str) -> dict[str, str]:
    """Where each is, by its path below the folder, or below what a glob has before its first `*`, `?` or `[`: `written`, and
    in that order. (Texts, not `Path`, of which a million take a gigabyte.)

    Of a folder, at any depth, the files with a name of `SUFFIXES`, and those that are DICOM by content, as archives often
    name them without. A folder that cannot be read comes as if it were a file, so that it is reported like one.

    Raises NoFiles.
    """
    if not images:
        raise NoFiles("'': neither a folder, nor a file, nor a glob")
    is_folder = Path(images).is_dir()
    root, parts = (Path(images), [ANY_DEPTH, "*"]) if is_folder else _split(images)
    below = [path for path in _matches(root, "", parts) if not is_folder or _may_be_an_image(root / path)]
    if below == ["."]:
        raise NoFiles(f"{root}: no such folder, or it cannot be read")
    if not below:
        raise NoFiles(f"{images}: {'no images in there' if is_folder or glob.has_magic(images) else 'no such file or folder'}")
    top = f"{root.absolute()}/"
    return dict(sorted((written(path), top + path) for path in below))


def check_root(images: str) -> None:
    """Raises NoFiles: the folder in which all of them stood has gone meanwhile."""
    root = Path(images) if not glob.has_magic(images) else _split(images)[0]
    if not root.exists():
        raise NoFiles(f"{root}: has gone meanwhile; once it is back, the same command goes on")


def written(path: str) -> str:
    r"""In UTF-8, as every format of results is: bytes that are none become `\xff`. No two paths become the same."""
    name = os.fsencode(path)
    text = name.decode("utf-8", "backslashreplace")
    return name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace") if _ESCAPE.search(text) else text


def _split(images: str) -> tuple[Path, list[str]]:
    """A glob into the folder before its first part with a `*`, `?` or `[`, and the rest; a file into its folder and name."""
    path = Path(images)
    if path.exists() or not glob.has_magic(images):
        return path.parent, [glob.escape(path.name)]
    first = next(index for index, part in enumerate(path.parts) if glob.has_magic(part))
    rest = path.parts[first:]
    return Path(*path.parts[:first]), [*rest, "*"] if rest[-1] == ANY_DEPTH else list(rest)


def _matches(root: Path, folder: str, parts: Sequence[str]) -> Iterator[str]:
    """Paths of files below the root. `folder`: where to look, "" or with a slash at its end."""
    part, rest = parts[0], parts[1:]
    try:
        with os.scandir(root / folder) as entries:
            seen = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError:
        yield folder.rstrip("/") or "."
        return
    if part == ANY_DEPTH:
        yield from _matches(root, folder, rest)
    for entry in seen:
        path = folder + entry.name
        if part == ANY_DEPTH:
            if entry.is_dir(follow_symlinks=False):
                yield from _matches(root, path + "/", parts)
        elif fnmatch.fnmatchcase(entry.name, part) and _leads_to_a_folder(entry) == bool(rest):
            yield from _matches(root, path + "/", rest) if rest else [path]


def _leads_to_a_folder(entry: os.DirEntry[str]) -> bool:
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and stat.S_ISDIR(_mode(Path(entry.path))))


def _may_be_an_image(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    if not stat.S_ISREG(mode := _mode(path)) or path.name == CONTENTS:
        return not mode or stat.S_ISDIR(mode)  # that it cannot be read is to be reported
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return True


def _mode(path: Path) -> int:
    """0 where nobody can tell."""
    try:
        return path.stat().st_mode
    except OSError:
        return 0
