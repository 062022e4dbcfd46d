"""Files that are there whole or not at all, whenever a process is killed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what is to become `path`: beside it, then synced and renamed. After an error `path` is as it was."""
    aside = path.with_name(path.name + ".tmp")
    yield aside
    with aside.open("rb") as file:
        os.fsync(file.fileno())
    aside.replace(path)


def append_line(path: Path, line: bytes) -> None:
    """Synced; after a line that a kill has cut short, on one of its own."""
    with path.open("a+b") as file:
        file.seek(0)
        before = file.read()
        file.write(b"\n" * (before[-1:] not in (b"", b"\n")) + line + b"\n")
        file.flush()
        os.fsync(file.fileno())
