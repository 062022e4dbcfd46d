import json
import logging
import os
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from service.log import NonBlockingHandler


class Log(NamedTuple):
    """`handler`: writes into a pipe, which takes 64 KB; `read`: all that is in it now."""

    handler: NonBlockingHandler
    reader: int

    def emit(self, message: str) -> None:
        self.handler.emit(logging.LogRecord("x", logging.INFO, "", 0, message, None, None))

    def read(self) -> bytes:
        return os.read(self.reader, 10_000_000)


@pytest.fixture
def log() -> Iterator[Log]:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    yield Log(NonBlockingHandler(writer), reader)
    os.close(reader)
    os.close(writer)


def test_a_log_that_nobody_reads_blocks_nothing_and_then_says_what_it_lost(log: Log) -> None:
    for _ in range(1000):
        log.emit("x" * 300)
    kept = log.read().splitlines()
    assert 0 < len(kept) < 1000
    assert set(kept) == {b"x" * 300}
    log.emit("again")
    lost, last = log.read().splitlines()
    assert json.loads(lost)["count"] == 1000 - len(kept)
    assert last == b"again"


def test_a_long_line_comes_whole(log: Log) -> None:
    log.emit("é" * 10_000)
    assert log.read().decode() == "é" * 10_000 + "\n"


def test_a_long_line_that_breaks_off_does_not_tear_the_next(log: Log) -> None:
    for _ in range(20):
        log.emit("x" * 10_000)
    log.read()
    log.emit("again")
    rest, lost, last = log.read().split(b"\n")[:3]
    assert rest == b""
    assert json.loads(lost)["count"] > 0
    assert last == b"again"
