"""List C: slow clients by hundreds, ten times more than the service can do, and the same bits whatever the load.

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
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import uvloop

from service.http.connection import MAX_PIPELINED
from service.images.decode import decode_image
from service.model.artefact import read_artefact
from service.model.classifier import Classifier
from tests.conftest import DEFAULT_MODEL, encode, grey
from tests.torture import results
from tests.torture.inputs import MAX_IMAGES, jpeg
from tests.torture.process import Service, serving
from tests.torture.wire import NO_ANSWER, Connection, connect, exchange, form, get, part, post, read

SLOW_CLIENTS = 200
DEADLINE_SECONDS = 5.0  # the service's default, for answers and bodies
HEAD_SECONDS = 5.0
IDLE_SECONDS = 5.0  # of a connection kept alive
SLACK_SECONDS = 2.0
ANSWER_SECONDS = 10.0  # after the deadline
GOOD_SECONDS = 3.0  # shorter than what slow clients are allowed
PAIRS = 3  # of measurements without and with slow clients, one after the other

OVERLOAD = 10
OVERLOAD_SECONDS = 60.0
PEAK_SECONDS = 10.0
PEAK_CONNECTIONS = 8
MOST_CONNECTIONS = 600
RECOVERY_SECONDS = 2.0


def run(seconds: float = OVERLOAD_SECONDS) -> results.Section:
    begin = time.monotonic()
    checks: list[results.Check] = []
    for found in (bitwise(), overload(seconds), slow_clients()):
        for check in found:
            print(f"  {'held' if check.held else 'FAILED'}: {check.name}: {check.found}", flush=True)
            checks.append(check)
    return results.section(time.monotonic() - begin, checks=checks)


def percentile(values: list[float], share: float) -> float:
    """Infinite where nothing was measured, so that no goal is held by nothing."""
    return float(np.quantile(values, share)) if values else math.inf


# Slow clients


class Slow(NamedTuple):
    """`opens`: connects and does what it does. `seconds`: by when the service has closed it."""

    name: str
    opens: Callable[[int], socket.socket]
    seconds: float


def slow_clients() -> Iterator[results.Check]:
    with serving() as service:
        good_client(service.port, 1)  # warms up
        time.sleep(1)
        for slow in SLOW:
            yield slow_kind(service, slow)


def slow_kind(service: Service, slow: Slow) -> results.Check:
    begin = time.monotonic()
    usual: list[float] = []
    beside: list[float] = []
    ratios: list[float] = []
    alone, open_at_first, closed = service.descriptors(), SLOW_CLIENTS, 0.0
    for _ in range(PAIRS):
        usual += (before := good_client(service.port, GOOD_SECONDS))
        with contextlib.ExitStack() as stack:
            for _ in range(SLOW_CLIENTS):
                stack.enter_context(slow.opens(service.port))
            opened = moment_of_calm(service.port, usual)  # what could be done for them at once has been done
            open_at_first = min(open_at_first, service.descriptors() - alone)
            beside += (now := good_client(service.port, GOOD_SECONDS))
            closed = max(closed, wait_until_closed(service, alone, opened + 2 * slow.seconds) - opened)
        ratios.append(percentile(now, 0.99) / percentile(before, 0.99))
    ratio = statistics.median(ratios)
    p50, p99, p50_beside, p99_beside = (1000 * percentile(values, share) for values in (usual, beside) for share in (0.5, 0.99))
    return results.Check(
        name=f"{SLOW_CLIENTS} clients: {slow.name}",
        expected=f"a good client's p99 below 2 × its usual; all closed in {slow.seconds:.0f} s",
        found=f"p99 {p99:.1f} → {p99_beside:.1f} ms ({ratio:.2f} ×, median of {PAIRS}), p50 {p50:.1f} → {p50_beside:.1f} ms; "
        f"{open_at_first} open, none after {closed:.1f} s",
        held=ratio < 2 and closed <= slow.seconds and open_at_first >= SLOW_CLIENTS,
        seconds=round(time.monotonic() - begin),
    )


def good_client(port: int, seconds: float) -> list[float]:
    """Seconds that each prediction took, one after another on one connection. Raises AssertionError: another status."""
    found, content, end = [], post(jpeg()), time.monotonic() + seconds
    with connect(port) as connection:
        while time.monotonic() < end:
            begin = time.perf_counter()
            connection.sendall(content)
            answer = read(connection)
            found.append(time.perf_counter() - begin)
            assert answer.status == 200, f"a good client was answered {answer.status}: {answer.body!r}"
    return found


def wait_until_closed(service: Service, descriptors: int, end: float) -> float:
    """When the service had no more descriptors than before; infinite if it still has at the end. time.perf_counter."""
    while time.perf_counter() < end:
        if service.descriptors() <= descriptors:
            return time.perf_counter()
        time.sleep(0.05)
    return math.inf


def idle(port: int) -> socket.socket:
    return connect(port)


def half_head(port: int) -> socket.socket:
    return sending(port, post(jpeg())[:30])


def half_body(port: int) -> socket.socket:
    return sending(port, post(jpeg())[:-1])


def slow_second_request(port: int) -> socket.socket:
    connection = sending(port, get("/health/live"))
    assert read(connection).status == 200
    connection.sendall(post(jpeg())[:30])
    return connection


def idle_after_a_request(port: int) -> socket.socket:
    connection = sending(port, get("/health/live"))
    assert read(connection).status == 200
    return connection


def never_reads(port: int) -> socket.socket:
    """Asks for as many answers of 100 KB as may be asked for ahead, and gives them a small window."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    connection.connect(("127.0.0.1", port))
    connection.sendall(get("/model-info") * MAX_PIPELINED)
    return connection


def sending(port: int, content: bytes) -> socket.socket:
    connection = connect(port)
    connection.sendall(content)
    return connection


SLOW = (
    Slow("idle", idle, HEAD_SECONDS + SLACK_SECONDS),
    Slow("half a head", half_head, HEAD_SECONDS + SLACK_SECONDS),
    Slow("half a body", half_body, DEADLINE_SECONDS + SLACK_SECONDS),
    Slow("half a head, after a first request", slow_second_request, HEAD_SECONDS + SLACK_SECONDS),
    Slow("idle, after a first request", idle_after_a_request, IDLE_SECONDS + SLACK_SECONDS),
    Slow("answers never read", never_reads, DEADLINE_SECONDS + ANSWER_SECONDS + SLACK_SECONDS),
)


# Overload


class Shot(NamedTuple):
    """`due` to be sent, `done` answered: time.perf_counter. `status` NO_ANSWER: the connection ended."""

    due: float
    done: float
    status: int
    retry_after: bool


def overload(seconds: float) -> Iterator[results.Check]:
    """Of one lane and fp32, so that this machine can also make ten times as much as the service can do."""
    context = multiprocessing.get_context("spawn")
    with serving(lanes=1, variant="fp32", queue_limit=32) as service, ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(closed_loop, service.port, PEAK_CONNECTIONS, 2).result()  # warms up
        peak = pool.submit(closed_loop, service.port, PEAK_CONNECTIONS, PEAK_SECONDS).result()
        usual = good_client(service.port, 2)
        load = pool.submit(open_loop, service.port, OVERLOAD * peak, seconds)
        live = []
        while not load.done():
            begin = time.perf_counter()
            assert exchange(service.port, get("/health/live")).status == 200
            live.append(time.perf_counter() - begin)
            time.sleep(0.05)
        recovered = moment_of_calm(service.port, usual)
        shots = load.result()
        yield from overload_checks(shots, peak, live, recovered - max(shot.due for shot in shots), seconds)


def overload_checks(
    shots: list[Shot], peak: float, live: list[float], recovery: float, seconds: float
) -> Iterator[results.Check]:
    how = f"{OVERLOAD} × {peak:.0f}/s for {seconds:.0f} s (lanes 1, fp32, queue 32)"
    accepted = [shot.done - shot.due for shot in shots if shot.status == 200]
    refused = [shot for shot in shots if shot.status == 429]
    others = len(shots) - len(accepted) - len(refused)
    offered, goodput = len(shots) / seconds, len(accepted) / seconds
    slowest = percentile(accepted, 0.99)
    bare = sum(not shot.retry_after for shot in refused)
    yield results.Check(
        name=f"overload: {how}",
        expected=f"{0.9 * OVERLOAD:.0f} × or more offered, each answered 200 or 429, all 429 with Retry-After",
        found=f"{offered:.0f}/s offered ({offered / peak:.1f} ×): {len(accepted):,} × 200, {len(refused):,} × 429 "
        f"({bare} without Retry-After), {others} others",
        held=offered >= 0.9 * OVERLOAD * peak and not others and not bare and bool(refused),
        seconds=seconds,
    )
    yield results.Check(
        name="overload: answers that were accepted",
        expected=f"p99 below the deadline, {DEADLINE_SECONDS:.0f} s",
        found=f"p50 {1000 * percentile(accepted, 0.5):.0f} ms, p99 {1000 * slowest:.0f} ms, from when they were due",
        held=slowest < DEADLINE_SECONDS,
    )
    yield results.Check(
        name="overload: goodput",
        expected="90 % of the peak or more",
        found=f"{goodput:.0f}/s of {peak:.0f}/s: {goodput / peak:.0%}",
        held=goodput >= 0.9 * peak,
    )
    yield results.Check(
        name="overload: /health/live beside it",
        expected="p99 below 100 ms",
        found=f"p50 {1000 * percentile(live, 0.5):.0f} ms, p99 {1000 * percentile(live, 0.99):.0f} ms of {len(live)}",
        held=percentile(live, 0.99) < 0.1,
    )
    yield results.Check(
        name="overload: recovery",
        expected=f"in {RECOVERY_SECONDS:.0f} s, three answers in a row in twice the usual time",
        found=f"{recovery:.2f} s",
        held=recovery < RECOVERY_SECONDS,
    )


def moment_of_calm(port: int, usual: list[float]) -> float:
    """When three in a row took no longer than twice the usual: time.perf_counter, the same clock in all processes."""
    limit = 2 * percentile(usual, 0.5) + 0.005  # for a connection of its own
    end, in_a_row = time.perf_counter() + 10 * RECOVERY_SECONDS, 0
    while in_a_row < 3:
        begin = time.perf_counter()
        status = exchange(port, post(jpeg())).status
        in_a_row = in_a_row + 1 if status == 200 and time.perf_counter() - begin < limit else 0
        if time.perf_counter() > end:
            return math.inf
    return time.perf_counter()


def closed_loop(port: int, connections: int, seconds: float) -> float:
    """Predictions a second by clients that each wait for their answer."""

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
    """Sends when it is time, whether earlier ones were answered or not, on connections that are free or new."""

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
                    return  # this machine cannot make that much; the number of shots says so
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


# The same bits


def bitwise() -> Iterator[results.Check]:
    for variant in ("fp32", "int8"):
        begin = time.monotonic()
        try:
            held, found = same_bits(variant)
        except AssertionError as error:
            held, found = False, str(error)
        yield results.Check(
            name=f"bits of {MAX_IMAGES} images, {variant}",
            expected="alone, in a batch of 16, 16 at once, and offline: equal",
            found=found,
            held=held,
            seconds=round(time.monotonic() - begin, 1),
        )


def same_bits(variant: str) -> tuple[bool, str]:
    sizes = [(200 + 37 * number, 180 + 29 * number) for number in range(MAX_IMAGES)]
    files = [encode(grey(*size, seed), ("PNG", "JPEG")[seed % 2]) for seed, size in enumerate(sizes)]
    with serving(variant=variant, lanes=1, max_batch_size=MAX_IMAGES) as service:
        alone = [prediction(service.port, file) for file in files]
        batch = exchange(service.port, form(*(part(file, "images") for file in files), path="/predict/batch"))
        assert batch.status == 200, batch
        together = [result["prediction"] for result in json.loads(batch.body)["results"]]
        with ThreadPoolExecutor(MAX_IMAGES) as pool:
            at_once = list(pool.map(lambda file: prediction(service.port, file), files))
    outputs = Classifier(read_artefact(DEFAULT_MODEL, variant)).classify_each([decode_image(file).grey for file in files])
    offline = [(output.probabilities.tolist(), float(output.novelty)) for output in outputs]
    equal = sum(
        figures(one) == figures(two) == figures(three) == four
        for one, two, three, four in zip(alone, together, at_once, offline, strict=True)
    )
    sizes_seen = {answer["batch_size"] for answer in [*together, *at_once]}
    return equal == MAX_IMAGES and max(sizes_seen) > 1, f"{equal} of {MAX_IMAGES} equal, in runs of up to {max(sizes_seen)}"


def prediction(port: int, file: bytes) -> dict[str, Any]:  # Any: JSON
    answer = exchange(port, post(file))
    assert answer.status == 200, answer
    return dict(json.loads(answer.body))


def figures(answer: dict[str, Any]) -> tuple[list[float], float]:
    return list(answer["probabilities"].values()), answer["novelty"]["value"]
