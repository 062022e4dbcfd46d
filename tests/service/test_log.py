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

    def read(self) -> list[str]:
        return os.read(self.reader, 10_000_000).decode(errors="replace").splitlines()


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
    kept = log.read()
    assert 0 < len(kept) < 1000
    assert set(kept) == {"x" * 300}
    log.emit("again")
    lost, last = log.read()
    assert (json.loads(lost)["count"], last) == (1000 - len(kept), "again")


def test_a_long_line_comes_whole_or_breaks_off_without_tearing_the_next(log: Log) -> None:
    for _ in range(20):
        log.emit("é" * 10_000)
    assert log.read()[0] == "é" * 10_000
    log.emit("again")
    rest, lost, last = log.read()
    assert (rest, json.loads(lost)["count"] > 0, last) == ("", True, "again")
