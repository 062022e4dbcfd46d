"""Journal of a run: one line per finished file, so that an interrupted run resumes.
The first line is a header with everything that decides the results. Entries are only ever appended, each as soon as it exists,
so that a kill loses no finished file. If two entries have the same path, the later one counts."""

import fcntl
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import msgspec

from service.archive.entries import Entry
from service.errors import ArchiveError


class Finished(NamedTuple):
    """Where an entry begins in the journal, and the size and time of the file that it belongs to."""

    offset: int
    bytes: int | None
    mtime_ns: int | None


@contextmanager
def open_journal(path: Path, header: dict[str, str]) -> "Iterator[Journal]":
    """Opens or creates a journal and locks it. At the end, removes it if it has no entries. Raises ArchiveError if it belongs
    to another run, is in use, or cannot be written."""
    with ExitStack() as stack:
        try:
            if path.exists() and not path.is_file():
                raise ArchiveError(f"{path}: is not a regular file")
            file = stack.enter_context(path.open("ab", buffering=0))  # unbuffered, so that it survives the end of this process
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArchiveError(f"{path}: another run is writing it") from error
        except OSError as error:
            raise ArchiveError(f"{path}: {error.strerror}") from error
        journal = Journal(path, file, header)
        try:
            yield journal
        finally:
            if not journal.finished:
                path.unlink(missing_ok=True)


class Journal:
    """`finished` has an item for each entry, by the file's name in the results."""

    def __init__(self, path: Path, file: FileIO, header: dict[str, str]) -> None:
        """Reads what an earlier run wrote, less a last line that a kill damaged. Raises ArchiveError if the header differs."""
        self.path = path
        self.finished: dict[str, Finished] = {}
        self._file = file
        first = msgspec.json.encode(header) + b"\n"
        with path.open("rb") as lines:
            found = lines.readline()
            if not first.startswith(found):
                raise ArchiveError(f"{path}: {_difference(found, header)}; remove it, or name another --out")
            self._end = len(found)
            try:
                for line in lines:  # without its last byte, because a line that lost its newline is damaged too
                    self._remember(msgspec.json.decode(line[:-1], type=Entry), line)
            except (msgspec.DecodeError, UnicodeDecodeError):
                file.truncate(self._end)
        self._append(first[len(found) :])  # the journal is new, or a kill cut its header short
        self._end = max(self._end, len(first))

    def add(self, entry: Entry) -> None:
        """Raises ArchiveError if the disk is full."""
        line = msgspec.json.encode(entry) + b"\n"
        self._append(line)
        self._remember(entry, line)

    def has(self, name: str, path: str) -> bool:
        """Whether there is an entry for the file as it is now: with another size or time it is another file."""
        if name not in self.finished:  # no look at the disk: on a network share it costs a million files many minutes
            return False
        with suppress(OSError):
            status = Path(path).stat()
            return self.finished[name][1:] == (status.st_size, status.st_mtime_ns)
        return False

    def entries(self, names: Iterable[str]) -> Iterator[Entry]:
        """The entries of these files, in this order. Raises ArchiveError if one has none."""
        with self.path.open("rb") as file:
            for name in names:
                if name not in self.finished:
                    raise ArchiveError(f"{name}: has no result; run the same command again")
                file.seek(self.finished[name].offset)
                yield msgspec.json.decode(file.readline(), type=Entry)

    def _remember(self, entry: Entry, line: bytes) -> None:
        self.finished[entry.path] = Finished(self._end, entry.bytes, entry.mtime_ns)
        self._end += len(line)

    def _append(self, content: bytes) -> None:
        try:
            while content:  # a disk that is nearly full takes only a part of it
                content = content[self._file.write(content) :]
        except OSError as error:
            raise ArchiveError(f"{self.path}: {error.strerror}") from error


def _difference(found: bytes, header: dict[str, str]) -> str:
    try:
        other = msgspec.json.decode(found, type=dict[str, str])
        name = next(name for name in header if other[name] != header[name])
    except (msgspec.DecodeError, UnicodeDecodeError, LookupError, StopIteration):
        return "is not a journal of this command"
    return f"was begun with {name} {other[name]!r}, which is {header[name]!r} now"
