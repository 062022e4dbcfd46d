"""A load test: some connections, each of which asks again as soon as it has its answer. `--help` says what is printed.

Standard library alone. `http.client` in threads takes a fifth of the CPU time that httpx takes; bare sockets would take half of
that, and know neither TLS nor chunks.
"""

import contextlib
import itertools
import json
import math
import os
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from service.errors import MedXferError

WARM_UP = 3  # requests for each connection
TIMEOUT_SECONDS = 60
PROGRESS_SECONDS = 0.2
MAX_DETAIL = 200  # characters
ANSWERED, OVERLOADED, BROKEN = 200, 429, 0  # the last in place of a status
PERCENTILES = (50, 90, 95, 99)
HEADERS = {"Content-Type": "application/octet-stream"}


class BenchError(MedXferError):
    """Nothing can be measured."""


class Tally:
    """What all connections together got, by status: `seconds` of each answer, the `first` body. `start`, `end`: of the first
    request and of the last answer, in seconds of time.perf_counter."""

    def __init__(self) -> None:
        self.seconds: dict[int, list[float]] = defaultdict(list)
        self.first: dict[int, bytes] = {}
        self.start = self.end = time.perf_counter()
        self.cpu_seconds = -time.process_time()
        self.interrupted = True  # until it is over
        self._lock = threading.Lock()

    def add(self, status: int, body: bytes, seconds: float) -> None:
        with self._lock:
            self.seconds[status].append(seconds)
            self.first.setdefault(status, body)
            self.end = time.perf_counter()

    def failed(self) -> int:
        return sum(len(seconds) for status, seconds in self.seconds.items() if status not in (ANSWERED, OVERLOADED))


class Client:
    """One connection, opened again where the server has closed it in good order."""

    def __init__(self, target: SplitResult, image: bytes) -> None:
        """Raises BenchError: nobody listens there."""
        kind = HTTPSConnection if target.scheme == "https" else HTTPConnection
        self._connection = kind(str(target.hostname), target.port, timeout=TIMEOUT_SECONDS)
        self._path = ("/predict" if target.path in ("", "/") else target.path) + (target.query and f"?{target.query}")
        self._image = image
        token = os.environ.get("MEDXFER_TOKEN")
        self._headers = HEADERS | ({"Authorization": f"Bearer {token}"} if token else {})
        try:
            self._connection.connect()
        except (OSError, UnicodeError) as error:  # Unicode: not the name of a host
            self.close()
            raise BenchError(f"{target.geturl()}: cannot connect: {getattr(error, 'strerror', None) or error}") from error
        self.beside_the_service = self._connection.sock.getpeername()[0] == self._connection.sock.getsockname()[0]

    def keep_asking(self, tickets: Iterator[int], tally: Tally, stop: threading.Event) -> None:
        for _ in tickets:  # shared by all: the interpreter's lock makes taking one atomic
            if stop.is_set():
                return
            start = time.perf_counter()
            try:
                self._connection.request("POST", self._path, self._image, self._headers)
                response = self._connection.getresponse()
                body = response.read()
            except (OSError, HTTPException) as error:
                tally.add(BROKEN, str(error).encode() or type(error).__name__.encode(), time.perf_counter() - start)
                return
            tally.add(response.status, body, time.perf_counter() - start)
            if response.status == OVERLOADED:
                self.close()  # the server would, meanwhile
                wait = response.headers.get("Retry-After", "")
                stop.wait(int(wait) if wait.isdecimal() else 1)

    def close(self) -> None:
        self._connection.close()


def run(url: str, image: Path, *, connections: int, seconds: float, requests: int | None) -> int:
    """The exit code. `requests`: how many, instead of for how long.

    Raises BenchError; and KeyboardInterrupt, but after the report of what there is.
    """
    target, data = _target(url), _read(image)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(contextlib.closing(Client(target, data))) for _ in range(connections)]
        warm = _measure(clients, iter(range(WARM_UP * connections)), math.inf)
        if warm.interrupted:
            raise KeyboardInterrupt
        if warm.failed() or not warm.seconds[ANSWERED]:
            raise BenchError(f"{url}: {_problem(warm, min(warm.first.keys() - {ANSWERED}))}")
        model, plural = _model(warm.first[ANSWERED]), "s" * (connections > 1)
        print(f"{url}, {image.name} ({len(data):,} bytes), {connections} connection{plural}, {model}", flush=True)
        tally = _measure(clients, iter(range(requests)) if requests else itertools.count(), math.inf if requests else seconds)
        print("\n".join(report(tally, beside_the_service=clients[0].beside_the_service)))
    if tally.interrupted:
        raise KeyboardInterrupt
    return int(tally.failed() > 0 or not tally.seconds[ANSWERED])


def report(tally: Tally, *, beside_the_service: bool) -> list[str]:
    times, duration = [1000 * seconds for seconds in tally.seconds[ANSWERED]], tally.end - tally.start
    overloaded = len(tally.seconds[OVERLOADED])
    lines = [f"requests    {len(times):,} answered, {tally.failed():,} failed, {overloaded:,} told to come later"]
    for status in sorted(tally.first.keys() - {ANSWERED}):
        lines.append(f"  {len(tally.seconds[status]):,} × {_problem(tally, status)}")
    if times:
        cuts = statistics.quantiles(times if len(times) > 1 else times * 2, n=100, method="inclusive")
        percentiles = "   ".join(f"p{percent} {cuts[percent - 1]:.1f}" for percent in PERCENTILES)
        lines.append(f"throughput  {len(times) / duration:.1f} requests/s over {duration:.1f} s")
        lines.append(f"latency     mean {statistics.fmean(times):.1f}   {percentiles}   max {max(times):.1f} ms")
        cost = "; it runs beside the service, which had so much less" * beside_the_service
        lines.append(f"client      took {tally.cpu_seconds / duration:.2f} CPUs{cost}")
    return lines


def _measure(clients: Sequence[Client], tickets: Iterator[int], seconds: float) -> Tally:
    """All clients at once, until the time is up, or `tickets`, one for each request, are."""
    tally, stop = Tally(), threading.Event()
    threads = [threading.Thread(target=client.keep_asking, args=(tickets, tally, stop), daemon=True) for client in clients]
    for thread in threads:
        thread.start()
    with contextlib.suppress(KeyboardInterrupt):
        while any(thread.is_alive() for thread in threads) and (left := tally.start + seconds - time.perf_counter()) > 0:
            time.sleep(min(left, PROGRESS_SECONDS))
            _show(f"{time.perf_counter() - tally.start:.0f} s   {len(tally.seconds[ANSWERED]):,} answered")
        tally.interrupted = False
    stop.set()
    with contextlib.suppress(KeyboardInterrupt):  # some programs that run this one send it twice
        for thread in threads:
            thread.join(1 if tally.interrupted else None)
    tally.cpu_seconds += time.process_time()
    _show("")
    return tally


def _show(progress: str) -> None:
    if sys.stderr.isatty():
        print(f"\r{progress}\033[K", end="", file=sys.stderr, flush=True)


def _target(url: str) -> SplitResult:
    try:
        target = urlsplit(url)
        if target.scheme in ("http", "https") and target.hostname and target.port != 0 and url.isascii() and " " not in url:
            return target
    except ValueError:  # a port that is no number, brackets without an address
        pass
    raise BenchError(f"{url!r} is no URL like http://localhost:8000")


def _read(image: Path) -> bytes:
    try:
        return image.read_bytes()
    except OSError as error:
        raise BenchError(f"{image}: {error.strerror}") from error


def _model(body: bytes) -> str:
    """Raises BenchError: it is no prediction."""
    name, variant = _said(body, "model", "name"), _said(body, "model", "variant")
    if name is None or variant is None:
        raise BenchError(f"what answers is not this service: {_printable(body.decode(errors='replace'))}")
    return f"model {name}, variant {variant}"


def _problem(tally: Tally, status: int) -> str:
    """With the detail that RFC 9457 gives it."""
    body = tally.first[status]
    detail = _said(body, "detail") or _printable(body.decode(errors="replace"))
    return f"{'connection lost' if status == BROKEN else f'status {status}'}: {detail}"


def _said(body: bytes, *keys: str) -> str | None:
    """What JSON has under these keys, if it has."""
    try:
        value = json.loads(body)
        for key in keys:
            value = value[key]
        return _printable(str(value))
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _printable(text: str) -> str:
    return "".join(character for character in text[:MAX_DETAIL] if character.isprintable())
