"""Measurements of our own service alone: parts of a request's time, memory, lanes and batches."""

import asyncio
import statistics
import time
from collections.abc import Iterable
from pathlib import Path

from service.engine.batcher import Batcher, Completed
from service.engine.promise import Promise
from service.images.decode import decode_image
from service.model.classifier import Classifier, GreyImage, Outputs
from tests.benchmarks import client, images, processes, servers
from tests.benchmarks.images import BIG, SMALL
from tests.benchmarks.results import Growth, Lanes, Processes
from tests.benchmarks.servers import Running, Server

REQUESTS, WARM_UP = 300, 30
SLICE_SECONDS = 2
LANES, BATCH_SIZES, REPEATS = (1, 2), (1, 2, 4, 8, 16), 3
WORK_RUNS = 100
PROCESSES = (1, 2)


def split(running: Running, request: Path) -> dict[str, float]:
    """Median ms of sequential requests, from `timing_ms` of the answers and this client's own clock. `service`: reading the
    body, and passing between threads. `client`: what the service does not see, and the client itself."""
    parts: list[dict[str, float]] = []
    with client.connected(running.port) as connection:
        for _ in range(WARM_UP + REQUESTS):
            begin = time.perf_counter()
            timing: dict[str, float] = client.ask(connection, request)["timing_ms"]
            wall = 1000 * (time.perf_counter() - begin)
            named = {name: timing[name] for name in ("decode", "queue", "inference")}
            parts.append({**named, "service": timing["total"] - sum(named.values()), "client": wall - timing["total"]})
    return {name: statistics.median(part[name] for part in parts[WARM_UP:]) for name in parts[0]}


def event_loop_ms(running: Running, request: Path, seconds: float) -> float:
    before = processes.main_thread_cpu_seconds(running.pid)
    load = client.load(running.port, request, connections=8, seconds=seconds)
    return 1000 * (processes.main_thread_cpu_seconds(running.pid) - before) / load.requests


def in_processes(server: Server, model: Path, request: Path, rounds: int, seconds: float) -> list[Processes]:
    found: dict[int, list[tuple[float, float, float]]] = {number: [] for number in PROCESSES}
    for turn in range(rounds):
        for number in PROCESSES if turn % 2 == 0 else reversed(PROCESSES):
            with servers.running(server, model, request, processes=number) as running:
                client.load(running.port, request, connections=8, seconds=SLICE_SECONDS)
                load = client.load(running.port, request, connections=8, seconds=seconds)
                found[number].append((load.requests / load.seconds, load.p99_ms, processes.memory(running.pid).pss))
    return [
        Processes(processes=number, requests_per_second=rate, p99_ms=p99_ms, pss=pss)
        for number, rows in found.items()
        for rate, p99_ms, pss in [map(statistics.median, zip(*rows, strict=True))]
    ]


def growth(running: Running, request: Path, marks: Iterable[int]) -> Growth:
    """Memory after so many requests, or a few more: wrk reports their number when it ends."""
    sent, found = 0, Growth(requests=[], rss=[])
    for mark in marks:
        while sent < mark:
            sent += client.load(running.port, request, connections=8, seconds=SLICE_SECONDS).requests
        found.requests.append(sent)
        found.rss.append(processes.memory(running.pid).rss)
    return found


def work_cpu_ms(classifier: Classifier) -> float:
    content, times = images.first(BIG), []
    for _ in range(WORK_RUNS):
        begin = time.process_time()
        classifier.classify([decode_image(content).grey])
        times.append(1000 * (time.process_time() - begin))
    return statistics.median(times)


def lanes(classifier: Classifier, seconds: float) -> list[Lanes]:
    """Our batcher without HTTP: medians of several turns, each of about `seconds`."""
    grey = decode_image(images.first(SMALL)).grey
    begin = time.perf_counter()
    for _ in range(10):
        classifier.classify([grey])
    count = max(4 * max(BATCH_SIZES), round(10 * seconds / (time.perf_counter() - begin)))
    found: dict[tuple[int, int], list[float]] = {(number, size): [] for number in LANES for size in BATCH_SIZES}
    for _ in range(REPEATS):
        for (number, size), rates in found.items():
            batcher = Batcher(classifier.classify_each, lanes=number, max_batch_size=size)
            rates.append(asyncio.run(_images_per_second(batcher, grey, count)))
    medians = {key: statistics.median(rates) for key, rates in found.items()}
    return [Lanes(lanes=number, max_batch_size=size, images_per_second=rate) for (number, size), rate in medians.items()]


async def _images_per_second(batcher: Batcher[GreyImage, Outputs], grey: GreyImage, count: int) -> float:
    batcher.open()
    try:
        begin = time.perf_counter()
        promises: list[Promise[Completed[Outputs]]] = [Promise() for _ in range(count)]
        for promise in promises:
            batcher.submit(grey, promise)
        for promise in promises:
            await promise
        return count / (time.perf_counter() - begin)
    finally:
        batcher.close()
