import json
import logging
import os
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from service.log import NonBlockingHandler

Log: TypeAlias = tuple[Callable[[str], None], Callable[[], list[str]]]


@pytest.fixture
def log() -> Iterator[Log]:
    """`emit`, which writes a line into a pipe of 64 KB, and `read`, which returns the lines that are in it now."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    handler = NonBlockingHandler(writer)
    yield (
        lambda message: handler.emit(logging.makeLogRecord({"msg": message})),
        lambda: os.read(reader, 10_000_000).decode(errors="replace").splitlines(),
    )
    os.close(reader)
    os.close(writer)


def test_a_log_that_nobody_reads_blocks_nothing_and_then_says_what_it_lost(log: Log) -> None:
    emit, read = log
    for _ in range(1000):
        emit("x" * 300)
    kept = read()
    assert 0 < len(kept) < 1000
    assert set(kept) == {"x" * 300}
    emit("again")
    lost, last = read()
    assert (json.loads(lost)["count"], last) == (1000 - len(kept), "again")


def test_a_long_line_comes_whole_or_breaks_off_without_tearing_the_next(log: Log) -> None:
    emit, read = log
    for _ in range(20):
        emit("é" * 10_000)
    assert read()[0] == "é" * 10_000
    emit("again")
    rest, lost, last = read()
    assert (rest, json.loads(lost)["count"] > 0, last) == ("", True, "again")
