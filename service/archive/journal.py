"""What is known so far, in a file beside the results: by it a run that was stopped, or killed, goes on where it was.

Its first line says of which run it is; each further line is a row, whole once it ends. Rows are only ever appended; of two with
the same path the later one counts, so it does no harm to answer a file twice.
"""

import fcntl
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from io import FileIO
from pathlib import Path

import msgspec

from service.archive.entries import Line, Row
from service.errors import MedXferError


class PartError(MedXferError):
    """It is of another run, or cannot be written."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """All that decides the rows. `description_sha256`: of model.json, which holds thresholds and cut-offs."""

    images: str
    model: str
    variant: str
    sha256: str
    description_sha256: str


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """Where its line begins, and of which file it is: one of another size or time is another file."""

    offset: int
    bytes: int | None
    mtime_ns: int | None


class Part:
    def __init__(self, path: Path, header: Header) -> None:
        """Raises PartError."""
        self.path = path
        self._first = msgspec.json.encode(header) + b"\n"
        with ExitStack() as undo:
            self._file = undo.enter_context(self._open())
            self._begin(header)
            undo.pop_all()

    def _open(self) -> FileIO:
        try:
            if self.path.exists() and not self.path.is_file():
                raise PartError(f"{self.path}: is not a regular file")
            file = self.path.open("ab", buffering=0)  # a row that was added is the system's, whatever becomes of us
        except OSError as error:
            raise PartError(f"{self.path}: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            file.close()
            raise PartError(f"{self.path}: another run is writing it") from error
        return file

    def _begin(self, header: Header) -> None:
        with self.path.open("rb") as file:
            found = file.readline()
        if found == self._first:
            return
        if not self._first.startswith(found):
            raise PartError(f"{self.path}: {_difference(found, header)}; remove it, or name another --out")
        self._file.truncate(0)  # empty, or cut short
        self._append(self._first)

    def add(self, line: Line) -> None:
        """Raises PartError."""
        self._append(msgspec.json.encode(line) + b"\n")

    def known(self) -> dict[str, Known]:
        """By path. The first line that is damaged, as only the last should be, is cut off with all after it."""
        known = {}
        offset = len(self._first)
        with self.path.open("rb") as file:
            file.seek(offset)
            for content in file:
                line = _line(content)
                if line is None:
                    self._file.truncate(offset)
                    break
                known[line.row.path] = Known(offset=offset, bytes=line.row.bytes, mtime_ns=line.mtime_ns)
                offset += len(content)
        return known

    def rows(self, paths: Iterable[str]) -> Iterator[Row]:
        """In this order. Raises PartError: one has no row."""
        known = self.known()
        with self.path.open("rb") as file:
            for path in paths:
                if path not in known:
                    raise PartError(f"{path}: was not answered; run the same command again")
                file.seek(known[path].offset)
                yield msgspec.json.decode(file.readline(), type=Line).row

    def remove(self) -> None:
        self.path.unlink()

    def close(self) -> None:
        """One without rows is not left behind."""
        if os.fstat(self._file.fileno()).st_size <= len(self._first):
            self.path.unlink(missing_ok=True)
        self._file.close()

    def _append(self, content: bytes) -> None:
        try:
            while content:  # a disk that is nearly full takes a part of it
                content = content[self._file.write(content) :]
        except OSError as error:
            raise PartError(f"{self.path}: {error.strerror}") from error


def _line(content: bytes) -> Line | None:
    try:
        return msgspec.json.decode(content, type=Line) if content.endswith(b"\n") else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _difference(found: bytes, header: Header) -> str:
    try:
        other = msgspec.json.decode(found, type=Header)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return "is no file of this command"
    pairs = ((name, getattr(other, name), getattr(header, name)) for name in Header.__struct_fields__)
    return next(
        (f"was begun with {name} {then!r}, which is {now!r} now" for name, then, now in pairs if then != now), "is damaged"
    )
