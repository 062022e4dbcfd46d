"""List C: hundreds of slow clients, ten times more requests than the service can answer, and equal bits under any load.

python -m tests.torture --only loads
"""

import asyncio
import contextlib
import json
import math
import multiprocessing
import socket
import statistics
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import uvloop

from service.http.connection import ANSWER_SECONDS, HEAD_SECONDS, MAX_PIPELINED
from service.images.decode import decode_image
from service.model.artefact import read_artefact
from service.model.classifier import Classifier
from service.server import KEEP_ALIVE_SECONDS
from tests.conftest import DEFAULT_MODEL, encode, grey
from tests.torture import results
from tests.torture.inputs import MAX_IMAGES, jpeg
from tests.torture.process import Service, serving
from tests.torture.results import Check, checked
from tests.torture.wire import HOST, NO_ANSWER, Connection, connect, exchange, get, post, read

SLOW_CLIENTS = 200
DEADLINE_SECONDS = 5.0  # the service's default, for answers and bodies
SLACK_SECONDS = 2.0
GOOD_SECONDS = 3.0  # shorter than what slow clients are allowed
PAIRS = 3  # measurements without and with slow clients, in turn

OVERLOAD = 10
OVERLOAD_SECONDS = 60.0
PEAK_SECONDS = 10.0
PEAK_CONNECTIONS = 8
MOST_CONNECTIONS = 600
RECOVERY_SECONDS = 2.0


def run(seconds: float = OVERLOAD_SECONDS) -> results.Section:
    begin = time.monotonic()
    expected = "16 at once and offline: equal"
    checks = [checked(f"bits of {MAX_IMAGES} images, {name}", expected, partial(same_bits, name)) for name in ("fp32", "int8")]
    checks += overload(seconds)
    with serving() as service:
        seconds_of_good_client(service.port, 1)  # warms up
        for slow in SLOW:
            name = f"{SLOW_CLIENTS} clients: {slow.name}"
            expected = f"a good client's p99 below 2 × its usual; all closed in {slow.seconds:.0f} s"
            checks.append(checked(name, expected, partial(hold_slow_clients, service, slow)))
    return results.section(time.monotonic() - begin, checks=checks)


def percentile(values: list[float], share: float) -> float:
    """Infinite if nothing was measured, so that this meets no goal."""
    return float(np.quantile(values, share)) if values else math.inf


class Slow(NamedTuple):
    """`first`: a request that is answered before `content` is sent. `seconds`: the service closes the connection by then."""

    name: str
    first: bytes
    content: bytes
    seconds: float


HALF_HEAD, HEALTH = post(b"")[:30], get("/health/live")
UNREAD = get("/model-info") * MAX_PIPELINED  # as many answers of 100 KB as a client may ask for ahead
SLOW = (
    Slow("idle", b"", b"", HEAD_SECONDS + SLACK_SECONDS),
    Slow("half a head", b"", HALF_HEAD, HEAD_SECONDS + SLACK_SECONDS),
    Slow("half a body", b"", post(jpeg())[:-1], DEADLINE_SECONDS + SLACK_SECONDS),
    Slow("half a head, after a first request", HEALTH, HALF_HEAD, HEAD_SECONDS + SLACK_SECONDS),
    Slow("idle, after a first request", HEALTH, b"", KEEP_ALIVE_SECONDS + SLACK_SECONDS),
    Slow("answers never read", b"", UNREAD, DEADLINE_SECONDS + ANSWER_SECONDS + SLACK_SECONDS),
)


def hold_slow_clients(service: Service, slow: Slow) -> tuple[bool, str]:
    usual: list[float] = []
    beside: list[float] = []
    ratios: list[float] = []
    alone, most_open, closed = service.descriptors(), SLOW_CLIENTS, 0.0
    for _ in range(PAIRS):
        usual += (before := seconds_of_good_client(service.port, GOOD_SECONDS))
        with contextlib.ExitStack() as stack:
            for _ in range(SLOW_CLIENTS):
                stack.enter_context(open_slow(service.port, slow))
            opened = moment_of_calm(service.port, usual)  # the service has done for them what it can do at once
            most_open = min(most_open, service.descriptors() - alone)
            beside += (during := seconds_of_good_client(service.port, GOOD_SECONDS))
            closed = max(closed, moment_of_close(service, alone, opened + 2 * slow.seconds) - opened)
        ratios.append(percentile(during, 0.99) / percentile(before, 0.99))
    ratio = statistics.median(ratios)
    p50, p99, p50_beside, p99_beside = (1000 * percentile(values, share) for values in (usual, beside) for share in (0.5, 0.99))
    return ratio < 2 and closed <= slow.seconds and most_open >= SLOW_CLIENTS, (
        f"p99 {p99:.1f} → {p99_beside:.1f} ms ({ratio:.2f} ×, median of {PAIRS}), p50 {p50:.1f} → {p50_beside:.1f} ms; "
        f"{most_open} open, none after {closed:.1f} s"
    )


def open_slow(port: int, slow: Slow) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)  # so that answers that nobody reads fill it
    connection.connect((HOST, port))
    if slow.first:
        connection.sendall(slow.first)
        assert read(connection).status == 200
    connection.sendall(slow.content)
    return connection


def seconds_of_good_client(port: int, seconds: float) -> list[float]:
    """Durations of predictions, one after another on one connection. Raises AssertionError if one is not answered by 200."""
    found, content, end = [], post(jpeg()), time.monotonic() + seconds
    with connect(port) as connection:
        while time.monotonic() < end:
            begin = time.perf_counter()
            connection.sendall(content)
            answer = read(connection)
            found.append(time.perf_counter() - begin)
            assert answer.status == 200, f"a good client was answered {answer.status}: {answer.body!r}"
    return found


def moment_of_close(service: Service, descriptors: int, end: float) -> float:
    """When the service has no more descriptors than before (time.perf_counter). Infinite if it still has at the end."""
    while time.perf_counter() < end:
        if service.descriptors() <= descriptors:
            return time.perf_counter()
        time.sleep(0.05)
    return math.inf


def moment_of_calm(port: int, usual: list[float]) -> float:
    """When three answers in a row took at most twice the usual time: time.perf_counter, the same clock in all processes."""
    limit = 2 * percentile(usual, 0.5) + 0.005  # for the new connection
    end, in_a_row = time.perf_counter() + 10 * RECOVERY_SECONDS, 0
    while in_a_row < 3:
        begin = time.perf_counter()
        status = exchange(port, post(jpeg())).status
        in_a_row = in_a_row + 1 if status == 200 and time.perf_counter() - begin < limit else 0
        if time.perf_counter() > end:
            return math.inf
    return time.perf_counter()


class Shot(NamedTuple):
    """One request: when it was due, when it was answered (time.perf_counter), and by which status."""

    due: float
    done: float
    status: int
    retry_after: bool


def overload(seconds: float) -> list[Check]:
    """The service has one lane and fp32, so that this machine can also make ten times as many requests as it can answer."""
    context = multiprocessing.get_context("spawn")
    with serving(lanes=1, variant="fp32", queue_limit=32) as service, ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(closed_loop, service.port, PEAK_CONNECTIONS, 2).result()  # warms up
        peak = pool.submit(closed_loop, service.port, PEAK_CONNECTIONS, PEAK_SECONDS).result()
        usual = seconds_of_good_client(service.port, 2)
        load = pool.submit(open_loop, service.port, OVERLOAD * peak, seconds)
        live = []
        while not load.done():
            begin = time.perf_counter()
            assert exchange(service.port, get("/health/live")).status == 200
            live.append(time.perf_counter() - begin)
            time.sleep(0.05)
        recovered = moment_of_calm(service.port, usual)
    shots = load.result()
    accepted = [shot.done - shot.due for shot in shots if shot.status == 200]
    rejected = [shot for shot in shots if shot.status == 429]
    bare = sum(not shot.retry_after for shot in rejected)
    others = len(shots) - len(accepted) - len(rejected)
    offered, goodput = len(shots) / seconds, len(accepted) / seconds
    recovery = recovered - max(shot.due for shot in shots)
    p50, p99, live_p50, live_p99 = (1000 * percentile(values, share) for values in (accepted, live) for share in (0.5, 0.99))
    name = f"overload: {OVERLOAD} × {peak:.0f}/s for {seconds:.0f} s (lanes 1, fp32, queue 32)"
    expected = f"{0.9 * OVERLOAD:.0f} × or more offered, each answered 200 or 429, all 429 with Retry-After"
    found = f"{offered:.0f}/s offered ({offered / peak:.1f} ×): {len(accepted):,} × 200, {len(rejected):,} × 429 "
    found += f"({bare} without Retry-After), {others} others"
    held = offered >= 0.9 * OVERLOAD * peak and not others and not bare and bool(rejected)
    in_time = (
        f"p99 below the deadline, {DEADLINE_SECONDS:.0f} s",
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, from when they were due",
    )
    enough = "90 % of the peak or more", f"{goodput:.0f}/s of {peak:.0f}/s: {goodput / peak:.0%}"
    alive = "p99 below 100 ms", f"p50 {live_p50:.0f} ms, p99 {live_p99:.0f} ms of {len(live)}"
    calm = f"in {RECOVERY_SECONDS:.0f} s, three answers in a row in twice the usual time", f"{recovery:.2f} s"
    goals = (
        (name, (expected, found), held),
        ("overload: answers that were accepted", in_time, p99 < 1000 * DEADLINE_SECONDS),
        ("overload: goodput", enough, goodput >= 0.9 * peak),
        ("overload: /health/live beside it", alive, live_p99 < 100),
        ("overload: recovery", calm, recovery < RECOVERY_SECONDS),
    )
    return [checked(name, expected, partial(lambda *outcome: outcome, held, found)) for name, (expected, found), held in goals]


def closed_loop(port: int, connections: int, seconds: float) -> float:
    """Predictions per second by clients that each wait for their answer."""

    async def client() -> int:
        connection, answered, end = Connection(port), 0, time.monotonic() + seconds
        while time.monotonic() < end:
            answered += (await connection.ask(content)).status == 200
        connection.close()
        return answered

    async def all_clients() -> int:
        return sum(await asyncio.gather(*(client() for _ in range(connections))))

    content = post(jpeg())
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(all_clients()) / seconds


def open_loop(port: int, rate: float, seconds: float) -> list[Shot]:
    """Sends each request when it is due, whether earlier ones were answered or not, on a connection that is free or new."""

    async def shoot(due: float, connection: Connection) -> None:
        try:
            answer = await connection.ask(content)
            status, retry_after = answer.status, answer.headers.get("retry-after", "").isdigit()
        except (OSError, TimeoutError):
            status, retry_after = NO_ANSWER, False
        shots.append(Shot(due, time.perf_counter(), status, retry_after))
        free.append(connection)

    async def all_shots() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(round(rate * seconds)):
                due = begin + number / rate
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                elif number % 16 == 0:
                    await asyncio.sleep(0)
                if time.perf_counter() - begin > seconds + 1:
                    return  # this machine cannot make that many, and the number of shots shows it
                while not free:
                    await asyncio.sleep(0.001)
                group.create_task(shoot(due, free.pop()))

    content = post(jpeg())
    shots: list[Shot] = []
    free = [Connection(port) for _ in range(MOST_CONNECTIONS)]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        begin = time.perf_counter()
        runner.run(all_shots())
    return shots


def same_bits(variant: str) -> tuple[bool, str]:
    """`make test` compares an image alone with the same image in a batch: test_predict.py."""

    def figures(file: bytes) -> tuple[object, ...]:
        answer = json.loads(exchange(service.port, post(file)).body)
        batch_sizes.add(answer["batch_size"])
        return list(answer["probabilities"].values()), answer["novelty"]["value"]

    batch_sizes: set[int] = set()
    files = [encode(grey(200 + 37 * seed, 180 + 29 * seed, seed), ("PNG", "JPEG")[seed % 2]) for seed in range(MAX_IMAGES)]
    with serving(variant=variant, lanes=1, max_batch_size=MAX_IMAGES) as service, ThreadPoolExecutor(MAX_IMAGES) as pool:
        at_once = list(pool.map(figures, files))
    outputs = Classifier(read_artefact(DEFAULT_MODEL, variant)).classify_each([decode_image(file).grey for file in files])
    offline = [(output.probabilities.tolist(), float(output.novelty)) for output in outputs]
    equal = sum(one == other for one, other in zip(at_once, offline, strict=True))
    found = f"{equal} of {MAX_IMAGES} equal, in batches of up to {max(batch_sizes)}"
    return equal == MAX_IMAGES and max(batch_sizes) > 1, found
