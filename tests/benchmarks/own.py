"""What is asked of our own service alone: the parts of a lone request, and whether memory grows."""

import http.client
import statistics
import time
from collections.abc import Mapping, Sequence

from tests.benchmarks import client, processes, servers
from tests.benchmarks.client import Request
from tests.benchmarks.results import Growth, Split
from tests.benchmarks.servers import Running

REQUESTS, WARM_UP = 300, 30
GROWTH = (2_000, 20_000)
SLICE_SECONDS = 2


def split(running: Running, request: Request) -> Split:
    """By `timing_ms` of sequential answers, and this client's own clock."""
    connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
    parts: list[dict[str, float]] = []
    for _ in range(WARM_UP + REQUESTS):
        begin = time.perf_counter()
        timing: Mapping[str, float] = client.ask(connection, servers.PATH, request)["timing_ms"]
        parts.append(_parts(timing, 1000 * (time.perf_counter() - begin)))
    connection.close()
    return Split(**{name: statistics.median(part[name] for part in parts[WARM_UP:]) for name in Split.__struct_fields__})


def _parts(timing: Mapping[str, float], wall: float) -> dict[str, float]:
    named = {name: timing[name] for name in ("decode", "queue", "inference")}
    return {**named, "service": timing["total"] - sum(named.values()), "client": wall - timing["total"]}


def growth(running: Running, request: Request, marks: Sequence[int] = GROWTH) -> Growth:
    """Memory after so many requests, or a few more: the client counts when it has ended."""
    sent, at, rss = 0, [], []
    for mark in marks:
        while sent < mark:
            sent += client.load(running.port, servers.PATH, request, connections=8, seconds=SLICE_SECONDS).requests
        at.append(sent)
        rss.append(processes.memory(running.pid).rss)
    return Growth(requests=at, rss=rss)
