"""Measurements of our own service alone: the parts of a single request's time, and memory after many requests."""

import http.client
import statistics
import time
from pathlib import Path

from tests.benchmarks import client, processes, servers
from tests.benchmarks.results import Growth, Split
from tests.benchmarks.servers import Running

REQUESTS, WARM_UP = 300, 30
GROWTH = (2_000, 20_000)
SLICE_SECONDS = 2


def split(running: Running, request: Path) -> Split:
    """Medians of sequential requests, from `timing_ms` of the answers and this client's own clock."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    parts: list[dict[str, float]] = []
    for _ in range(WARM_UP + REQUESTS):
        begin = time.perf_counter()
        timing: dict[str, float] = client.ask(connection, servers.PATH, request)["timing_ms"]
        wall = 1000 * (time.perf_counter() - begin)
        named = {name: timing[name] for name in ("decode", "queue", "inference")}
        parts.append({**named, "service": timing["total"] - sum(named.values()), "client": wall - timing["total"]})
    connection.close()
    return Split(**{name: statistics.median(part[name] for part in parts[WARM_UP:]) for name in Split.__struct_fields__})


def growth(running: Running, request: Path, marks: list[int]) -> Growth:
    """Memory after so many requests, or a few more: wrk reports their number when it ends."""
    sent, at, rss = 0, [], []
    for mark in marks:
        while sent < mark:
            sent += client.load(running.port, servers.PATH, request, connections=8, seconds=SLICE_SECONDS).requests
        at.append(sent)
        rss.append(processes.memory(running.pid).rss)
    return Growth(requests=at, rss=rss)
