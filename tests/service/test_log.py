import json
import logging
import os

from service.log import Unblocking


def record(message: str) -> logging.LogRecord:
    return logging.LogRecord("x", logging.INFO, "", 0, message, None, None)


def test_a_log_that_nobody_reads_blocks_nothing_and_then_says_what_it_lost() -> None:
    reader, writer = os.pipe()
    handler = Unblocking(writer)
    for _ in range(1000):
        handler.emit(record("x" * 300))
    os.set_blocking(reader, False)
    kept = os.read(reader, 10_000_000).splitlines()
    assert 0 < len(kept) < 1000
    assert set(kept) == {b"x" * 300}
    handler.emit(record("again"))
    lost, last = os.read(reader, 10_000).splitlines()
    assert json.loads(lost)["count"] == 1000 - len(kept)
    assert last == b"again"
    os.close(reader)
    os.close(writer)


def test_a_long_line_comes_whole() -> None:
    reader, writer = os.pipe()
    Unblocking(writer).emit(record("é" * 10_000))
    assert os.read(reader, 100_000).decode() == "é" * 10_000 + "\n"
    os.close(reader)
    os.close(writer)


def test_a_long_line_that_breaks_off_does_not_tear_the_next() -> None:
    reader, writer = os.pipe()
    handler = Unblocking(writer)
    for _ in range(20):
        handler.emit(record("x" * 10_000))
    os.set_blocking(reader, False)
    os.read(reader, 10_000_000)
    handler.emit(record("again"))
    rest, lost, last = os.read(reader, 10_000).split(b"\n")[:3]
    assert rest == b""
    assert json.loads(lost)["count"] > 0
    assert last == b"again"
    os.close(reader)
    os.close(writer)
