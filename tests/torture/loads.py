"""List C: hundreds of slow clients, and ten times more requests than the service can answer."""

import asyncio
import contextlib
import itertools
import math
import multiprocessing
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import uvloop
from PIL import Image
from pydicom.uid import JPEG2000

from service.http.connection import ANSWER_SECONDS, HEAD_SECONDS, MAX_PIPELINED
from service.server import KEEP_ALIVE_SECONDS
from tests.conftest import dicom_of, encode, grey
from tests.service.http.helpers import INFER
from tests.torture.inputs import JPEG
from tests.torture.process import Service, serving
from tests.torture.results import Check, Findings, Outcome, checked
from tests.torture.wire import HOST, NO_ANSWER, SECONDS, Answer, connect, exchange, get, post, read, read_async, request

SLOW_CLIENTS = 200
DEADLINE_SECONDS = 5.0  # the service's default, for answers and bodies
SLACK_SECONDS = 2.0
GOOD_SECONDS = 3.0  # shorter than what slow clients are allowed
PAIRS = 3  # measurements without and with slow clients, in turn

OVERLOAD = 10
PEAK_CONNECTIONS, MOST_CONNECTIONS = 8, 600
RECOVERY_SECONDS = 2.0

HALF_HEAD, HEALTH = post(b"")[:30], get("/health/live")
UNREAD = get("/model-info") * MAX_PIPELINED  # as many answers of 100 KB as a client may ask for ahead
# A request that is answered first, what is sent then, and the seconds by which the service closes the connection.
SLOW = {
    "idle": (b"", b"", HEAD_SECONDS + SLACK_SECONDS),
    "half a head": (b"", HALF_HEAD, HEAD_SECONDS + SLACK_SECONDS),
    "half a body": (b"", post(JPEG)[:-1], DEADLINE_SECONDS + SLACK_SECONDS),
    "half a head, after a first request": (HEALTH, HALF_HEAD, HEAD_SECONDS + SLACK_SECONDS),
    "idle, after a first request": (HEALTH, b"", KEEP_ALIVE_SECONDS + SLACK_SECONDS),
    "answers never read": (b"", UNREAD, DEADLINE_SECONDS + ANSWER_SECONDS + SLACK_SECONDS),
}


def run(seconds: float = 60) -> Findings:
    checks = [*overload(seconds), *slow_images()]
    with serving() as service:
        seconds_of_good_client(service.port, 1)  # warms up
        for name, slow in SLOW.items():
            expected = f"a good client's p99 below 2 × its usual; all closed in {slow[2]:.0f} s"
            checks.append(checked(f"{SLOW_CLIENTS} clients: {name}", expected, partial(hold_slow_clients, service, *slow)))
    return checks


def hold_slow_clients(service: Service, first: bytes, content: bytes, seconds: float) -> Outcome:
    usual, beside, ratios = list[float](), list[float](), list[float]()
    alone, most_open, closed = idle_descriptors(service), SLOW_CLIENTS, 0.0
    for _ in range(PAIRS):
        usual += (before := seconds_of_good_client(service.port, GOOD_SECONDS))
        with contextlib.ExitStack() as stack:
            for _ in range(SLOW_CLIENTS):
                stack.enter_context(open_slow(service.port, first, content))
            opened = moment_of_calm(service.port, usual)  # the service has done for them what it can do at once
            most_open = min(most_open, service.descriptors() - alone)
            beside += (during := seconds_of_good_client(service.port, GOOD_SECONDS))
            while service.descriptors() > alone and time.perf_counter() < opened + 2 * seconds:
                time.sleep(0.05)
            closed = max(closed, time.perf_counter() - opened)
        ratios.append(percentile(during, 0.99) / percentile(before, 0.99))
    ratio, p99, p99_beside = sorted(ratios)[PAIRS // 2], 1000 * percentile(usual, 0.99), 1000 * percentile(beside, 0.99)
    return ratio < 2 and closed <= seconds and most_open >= SLOW_CLIENTS, (
        f"p99 {p99:.1f} → {p99_beside:.1f} ms ({ratio:.2f} ×, median of {PAIRS}); {most_open} open, none after {closed:.1f} s"
    )


def idle_descriptors(service: Service) -> int:
    """The least within a second: a connection that a client has closed may still be open for a moment."""
    found = []
    for _ in range(20):
        found.append(service.descriptors())
        time.sleep(0.05)
    return min(found)


def open_slow(port: int, first: bytes, content: bytes) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)  # so that answers that nobody reads fill it
    connection.connect((HOST, port))
    if first:
        connection.sendall(first)
        assert read(connection).status == 200
    connection.sendall(content)
    return connection


def overload(seconds: float) -> list[Check]:
    """The service has one lane and fp32, so that this machine can also make ten times as many requests as it can answer."""
    context = multiprocessing.get_context("spawn")
    with serving(lanes=1, variant="fp32", queue_limit=32) as service, ProcessPoolExecutor(1, mp_context=context) as pool:
        pool.submit(peak_rate, service.port, PEAK_CONNECTIONS, 2).result()  # warms up
        peak = pool.submit(peak_rate, service.port, PEAK_CONNECTIONS, 10).result()
        usual = seconds_of_good_client(service.port, 2)
        load = pool.submit(fire, service.port, MOST_CONNECTIONS, OVERLOAD * peak, seconds)
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
    offered, goodput, others = len(shots) / seconds, len(accepted) / seconds, len(shots) - len(accepted) - len(rejected)
    recovery = recovered - max(shot.due for shot in shots)
    p50, p99, live_p50, live_p99 = (1000 * percentile(values, share) for values in (accepted, live) for share in (0.5, 0.99))
    name = f"overload: {OVERLOAD} × {peak:.0f}/s for {seconds:.0f} s (lanes 1, fp32, queue 32)"
    expected = f"{0.9 * OVERLOAD:.0f} × or more offered, each answered 200 or 429, all 429 with Retry-After"
    found = f"{offered:.0f}/s offered ({offered / peak:.1f} ×): {len(accepted):,} × 200, {len(rejected):,} × 429 "
    found += f"({bare} without Retry-After), {others} others"
    held = offered >= 0.9 * OVERLOAD * peak and not others and not bare and bool(rejected)
    in_time = p99 < 1000 * DEADLINE_SECONDS, f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, from when they were due"
    enough = goodput >= 0.9 * peak, f"{goodput:.0f}/s of {peak:.0f}/s: {goodput / peak:.0%}"
    alive = live_p99 < 100, f"p50 {live_p50:.0f} ms, p99 {live_p99:.0f} ms of {len(live)}"
    calm = f"in {RECOVERY_SECONDS:.0f} s, three answers in a row in twice the usual time"
    return [
        checked(name, expected, (held, found)),
        checked("overload: answers that were accepted", f"p99 below the deadline, {DEADLINE_SECONDS:.0f} s", in_time),
        checked("overload: goodput", "90 % of the peak or more", enough),
        checked("overload: /health/live beside it", "p99 below 100 ms", alive),
        checked("overload: recovery", calm, (recovery < RECOVERY_SECONDS, f"{recovery:.2f} s")),
    ]


def slow_images() -> list[Check]:
    """Images that take long to decode, and a request that nobody waits for."""
    large = np.asarray(Image.fromarray(grey(950, 750)).resize((4200, 3600)))
    jpeg_2000 = dicom_of(large, JPEG2000, encode(large, "JPEG2000", no_jp2=True, quality_layers=[12]))
    kinds = {"ordinary JPEGs": encode(large, "JPEG", quality=90), "JPEG 2000 in DICOM": jpeg_2000}
    with serving() as service:
        seconds_of_good_client(service.port, 1)  # warms up
        p99s: dict[str, list[float]] = {name: [] for name in kinds}
        for name, content in [*kinds.items()] * PAIRS:
            with ProcessPoolExecutor(4, mp_context=multiprocessing.get_context("spawn")) as pool:
                busy = [pool.submit(repeat, service.port, content, GOOD_SECONDS + 2) for _ in range(4)]
                time.sleep(1.5)  # until they have started
                p99s[name].append(percentile(seconds_of_good_client(service.port, GOOD_SECONDS), 0.99))
                assert all(status == 200 for statuses in busy for status in statuses.result()), "a slow image was refused"
        usual, beside = (1000 * sorted(values)[PAIRS // 2] for values in p99s.values())
        beside_slow = beside <= 2 * usual, f"p99 {usual:.1f} → {beside:.1f} ms ({beside / usual:.2f} ×, medians of {PAIRS})"
    expected = "a good client's p99 at most 2 × that beside four with ordinary JPEGs of 15 megapixels"
    return [
        checked("four clients with JPEG 2000 of 15 megapixels", expected, beside_slow),
        checked("requests that nobody waits for, after 20 s of idleness", "no 429 while places are free", left_alone),
    ]


def repeat(port: int, content: bytes, seconds: float) -> list[int]:
    """The statuses of predictions one after another."""
    end, found = time.perf_counter() + seconds, []
    while time.perf_counter() < end:
        found.append(exchange(port, post(content)).status)
    return found


def left_alone() -> Outcome:
    """Some bodies take over a second to parse or decode, and their clients leave; meanwhile others come, fewer than there are
    places."""
    pixels = b"[" + b"7," * 1_999_999 + b"7]"
    flat = b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1,1000,2000],"data":' + pixels + b"}]}"
    bodies = [request("POST", INFER, body=flat), post(encode(Image.new("RGBA", (6300, 6300)), compress_level=1))]
    statuses: list[int] = []
    with serving() as service, ThreadPoolExecutor(20) as pool:
        for body in bodies:
            seconds_of_good_client(service.port, 1)
            time.sleep(20)
            for _ in range(3):
                with connect(service.port) as leaving:
                    leaving.sendall(body)
                    time.sleep(0.1)
            statuses += pool.map(lambda _: exchange(service.port, post(JPEG)).status, range(200))
        healthy = service.is_healthy()
    return healthy and set(statuses) == {200}, f"{len(statuses)} requests: {', '.join(map(str, sorted(set(statuses))))}"


def percentile(values: list[float], share: float) -> float:
    return float(np.quantile(values, share)) if values else math.inf  # which meets no goal


def seconds_of_good_client(port: int, seconds: float) -> list[float]:
    """Durations of predictions, one after another on one connection. Raises AssertionError if one is not answered by 200."""
    found, end = [], time.perf_counter() + seconds
    with connect(port) as connection:
        while (begin := time.perf_counter()) < end:
            connection.sendall(post(JPEG))
            answer = read(connection)
            found.append(time.perf_counter() - begin)
            assert answer.status == 200, f"a good client was answered {answer.status}: {answer.body!r}"
    return found


def moment_of_calm(port: int, usual: list[float]) -> float:
    """When three answers in a row took at most twice the usual time (time.perf_counter), or far too late if they do not."""
    limit = 2 * percentile(usual, 0.5) + 0.005  # for the new connection
    end, in_a_row = time.perf_counter() + 10 * RECOVERY_SECONDS, 0
    while in_a_row < 3 and time.perf_counter() < end:
        begin = time.perf_counter()
        status = exchange(port, post(JPEG)).status
        in_a_row = in_a_row + 1 if status == 200 and time.perf_counter() - begin < limit else 0
    return time.perf_counter()


class Shot(NamedTuple):
    due: float  # time.perf_counter, the same in all processes
    done: float
    expected: int
    status: int
    retry_after: bool


Due = tuple[float, int, bytes]  # when to send a request, the status to expect, and the request


def peak_rate(port: int, connections: int, seconds: float) -> float:
    return sum(shot.status == 200 for shot in fire(port, connections, math.inf, seconds)) / seconds


def fire(port: int, connections: int, rate: float, seconds: float) -> list[Shot]:
    shots: list[Shot] = []
    dues = zip(moments(rate, seconds), itertools.repeat(200), itertools.repeat(post(JPEG)))
    uvloop.run(shoot(port, connections, dues, shots.append))
    return shots


def moments(rate: float, seconds: float) -> Iterator[float]:
    """Fewer than rate × seconds if this machine cannot make that many requests."""
    begin = time.perf_counter()
    evenly = (begin + number / rate for number in itertools.count())
    return itertools.takewhile(lambda due: max(due, time.perf_counter()) < begin + seconds, evenly)


async def shoot(port: int, connections: int, dues: Iterable[Due], note: Callable[[Shot], None]) -> None:
    async def client() -> None:
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for due, expected, content in shared:
            await asyncio.sleep(max(0, due - time.perf_counter()))
            keep, answer = False, Answer(NO_ANSWER, {}, b"")
            with contextlib.suppress(OSError):  # TimeoutError is one
                if streams is None or streams[0].at_eof():  # the service has closed it since the last request
                    streams = await asyncio.open_connection(HOST, port)
                streams[1].write(content)
                answer = await asyncio.wait_for(read_async(streams[0], content.startswith(b"HEAD ")), SECONDS)
                # Some bad requests lack their end: the service would take the next one for it.
                keep = expected == 200 and answer.status != NO_ANSWER and answer.headers.get("connection") != "close"
            if streams and not keep:
                streams[1].transport.abort()
                streams = None
            note(Shot(due, time.perf_counter(), expected, answer.status, answer.headers.get("retry-after", "").isdigit()))
        if streams:
            streams[1].transport.abort()

    shared = iter(dues)
    await asyncio.gather(*(client() for _ in range(connections)))
