import json
import logging
import os
import pty
import re
import signal
from collections.abc import Callable, Iterator
from typing import TypeAlias

import pytest

from service.log import NonBlockingHandler, TerminalFormatter
from service.server import browser_url
from tests.conftest import DEFAULT_MODEL
from tests.service.http.helpers import PNG
from tests.torture.process import serving
from tests.torture.wire import exchange, get, post

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


def test_on_a_terminal_the_log_is_short_lines_for_people_with_the_address_to_open() -> None:
    reader, writer = pty.openpty()
    with serving(stderr=writer) as service:
        for request in (post(PNG), post(b"no image"), get("/health")):
            exchange(service.port, request)
        service.process.send_signal(signal.SIGINT)
        service.process.wait(30)
    lines = os.read(reader, 1_000_000).decode().splitlines()
    assert all(re.match(r"\d\d:\d\d:\d\d ", line) for line in lines), lines
    loaded, listening, predicted, refused, stopped = (line[9:] for line in lines)
    assert loaded.startswith(f"{DEFAULT_MODEL} is loaded: ")
    assert listening == f"MedXfer serves {DEFAULT_MODEL} on http://localhost:{service.port} — open it in a browser"
    assert re.fullmatch(r"POST /predict 200, [\d.]+ ms", predicted)
    assert re.fullmatch(r"POST /predict 415, [\d.]+ ms: Unsupported image type", refused)
    assert stopped == "stopped"
    os.close(reader)
    os.close(writer)


def test_a_warning_on_a_terminal_has_its_level_and_its_fields() -> None:
    fields = {"what": "lane 1", "_ray_timestamp_ns": 1}  # the latter: what Ray adds to every record
    record = logging.makeLogRecord({"msg": "stuck", "levelno": logging.CRITICAL, "levelname": "CRITICAL", **fields})
    assert TerminalFormatter().format(record)[9:] == "CRITICAL stuck what=lane 1"


URLS = {
    "127.0.0.1": "http://localhost:80",
    "0.0.0.0": "http://localhost:80",
    "::": "http://localhost:80",
    "10.0.0.7": "http://10.0.0.7:80",
    "fe80::1": "http://[fe80::1]:80",
    "xray.lan": "http://xray.lan:80",
}


def test_the_address_to_open_is_one_that_a_browser_understands() -> None:
    assert {host: browser_url(host, 80) for host in URLS} == URLS
