"""Finds the files that a folder, a file or a glob names.
Hidden files are left out. Links to files are read. Links to folders are followed only where the glob names that level, never by
`**`, so that a loop of links cannot run for ever."""

import fnmatch
import glob
import os
import re
import stat
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from service.errors import ArchiveError
from service.images import limits

SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".dcm", ".dicom"}
DICOMDIR = "DICOMDIR"  # in any case: the table of contents of a medium, which is DICOM, but not an image
PACKED = {".gz", ".bz2", ".xz", ".zst", ".zip"}  # the suffix before it is named too
MAX_KINDS = 12  # that are named
START_BYTES = 256  # by which JPEG, PNG and DICOM are told
ANY_DEPTH = "**"

_ESCAPE = re.compile(r"\\x[0-9a-f]{2}")


def find_root(images: str) -> Path:
    """The folder or file itself. For a glob, the folder before its first part with `*`, `?` or `[`."""
    path = Path(images)
    if path.exists() or not glob.has_magic(images):  # what exists is not a glob, even if its name has brackets
        return path
    return Path(*path.parts[: next(index for index, part in enumerate(path.parts) if glob.has_magic(part))])


def find(images: str) -> tuple[dict[str, str], Counter[str]]:
    """Maps each file's name in the results, its path below the root, to its absolute path, sorted; and counts, by suffix, what
    was passed over. A folder gives, at any depth, the files with a suffix of `SUFFIXES` and those that are JPEG, PNG or DICOM
    by content, because archives often name them without a suffix. A folder that cannot be read is listed as if it were a file,
    so that the results report it. The paths are strings, because a million `Path`s take a gigabyte. Raises ArchiveError if
    there is no file."""
    path, root, passed_over = Path(images), find_root(images), Counter[str]()
    if root != path:
        parts = path.relative_to(root).parts
        found = list(_match(root, "", [*parts, "*"] if parts[-1] == ANY_DEPTH else parts))
    elif images and root.is_dir():
        found = []
        for below in _match(root, "", [ANY_DEPTH, "*"]):
            if _may_be_an_image(root / below):
                found.append(below)
            else:
                passed_over[_kind(below)] += 1
    elif path.name and (path.exists() or path.is_symlink()):
        root, found = path.parent, [path.name]
    else:
        raise ArchiveError(f"{images!r}: no such file or folder")
    if found in ([], ["."]):
        raise ArchiveError(f"{images!r}: {'the folder cannot be read' if found else 'no images in there'}{passed(passed_over)}")
    top = f"{root.absolute()}/"
    return dict(sorted((utf8_name(below), top + below) for below in found)), passed_over


def passed(over: Counter[str]) -> str:
    """A sentence's end about what was passed over, or nothing."""
    kinds = ", ".join(f"{count:,} × {kind}" for kind, count in over.most_common(MAX_KINDS))
    return f"; {over.total():,} files were passed over: {kinds}{', …' if len(over) > MAX_KINDS else ''}" if over else ""


def utf8_name(path: str) -> str:
    r"""The path in valid UTF-8, which results need. Other bytes become `\xff`; different paths get different names."""
    name = os.fsencode(path)
    text = name.decode("utf-8", "backslashreplace")
    return name.replace(b"\\", b"\\\\").decode("utf-8", "backslashreplace") if _ESCAPE.search(text) else text


def _match(root: Path, folder: str, parts: Sequence[str]) -> Iterator[str]:
    """Paths below `root` of the matching files in `folder`, which is empty or ends with a slash."""
    part, rest = parts[0], parts[1:]
    try:
        with os.scandir(root / folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError:
        yield folder.rstrip("/") or "."
        return
    if part == ANY_DEPTH:
        yield from _match(root, folder, rest)
    for entry in visible:
        path = folder + entry.name
        if part == ANY_DEPTH:
            if entry.is_dir(follow_symlinks=False):
                yield from _match(root, path + "/", parts)
        elif fnmatch.fnmatchcase(entry.name, part):
            # Only a link needs a look at the disk. DirEntry.is_dir raises if it is a link to itself.
            is_folder = os.path.isdir(entry) if entry.is_symlink() else entry.is_dir()  # noqa: PTH112
            if is_folder == bool(rest):
                yield from _match(root, path + "/", rest) if rest else [path]


def _kind(path: str) -> str:
    """The suffix in lower case, for people."""
    suffixes = [suffix.lower() for suffix in Path(path).suffixes[-2:]]
    kind = "".join(suffixes if suffixes and suffixes[-1] in PACKED else suffixes[-1:])
    return ascii(kind)[1:-1] if kind else DICOMDIR if Path(path).name.upper() == DICOMDIR else "without a suffix"


def _may_be_an_image(path: Path) -> bool:
    if path.suffix.lower() in SUFFIXES:
        return True
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode):
            return stat.S_ISDIR(mode)
        with path.open("rb") as file:
            start = file.read(START_BYTES)
        if limits.is_dicom(start):
            return path.name.upper() != DICOMDIR
        return start.startswith((limits.JPEG_SIGNATURE, limits.PNG_SIGNATURE))
    except OSError:
        return True  # so that the results report it
