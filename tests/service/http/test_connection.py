"""Connections that do not do as they should; each of these waits for a deadline, so they wait together."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import httpx
import pytest
from PIL import Image

from service.http.connection import ANSWER_SECONDS, GRACE_SECONDS, HEAD_SECONDS, MAX_HEAD_BYTES, MAX_HEADERS, MAX_PIPELINED
from service.server import KEEP_ALIVE_SECONDS
from tests.conftest import encode, grey, running_service

PNG = encode(grey(120, 100))
SLOW = encode(Image.new("RGBA", (6300, 6300)), compress_level=1)  # a third of a second to decode
DEADLINE_SECONDS = 2
LATE = 1.5  # seconds; for a busy machine
HEALTH = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


def post(path: bytes, length: int, body: bytes = b"") -> bytes:
    return b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (path, length, body)


class Stuck(NamedTuple):
    """`sent` at once, then nothing; `then` is sent after the first answer."""

    sent: bytes
    expected_status: int | None  # of the last answer before the end; None: closed without a word
    at_seconds: float
    then: bytes = b""


STUCK = {
    "nothing": Stuck(b"", None, HEAD_SECONDS),
    "half a head": Stuck(b"GET /health HTTP/1.1\r\nHo", 408, HEAD_SECONDS),
    "half a body": Stuck(post(b"/predict", 1000, b"x"), 408, DEADLINE_SECONDS + GRACE_SECONDS),
    "a body that no route reads": Stuck(post(b"/nowhere", 1000, b"x"), 404, DEADLINE_SECONDS + GRACE_SECONDS),
    "nothing after an answer": Stuck(HEALTH, 200, KEEP_ALIVE_SECONDS),
    "half a head after an answer": Stuck(HEALTH, 408, HEAD_SECONDS, then=b"GET /he"),
    "half a body after an answer": Stuck(HEALTH, 408, DEADLINE_SECONDS + GRACE_SECONDS, then=post(b"/predict", 1000, b"x")),
}


class Ended(NamedTuple):
    after_seconds: float
    received: bytes


@pytest.fixture(scope="module")
def service() -> Iterator[httpx.Client]:
    with running_service(deadline_ms=1000 * DEADLINE_SECONDS) as client:
        yield client


@pytest.fixture(scope="module")
def ended(service: httpx.Client) -> dict[str, Ended]:
    """All of STUCK at once."""
    with ThreadPoolExecutor(len(STUCK)) as threads:
        return dict(zip(STUCK, threads.map(lambda stuck: stay(service, stuck), STUCK.values()), strict=True))


def connect(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=30)


def stay(client: httpx.Client, stuck: Stuck) -> Ended:
    with connect(client) as connection:
        connection.sendall(stuck.sent)
        received = b""
        if stuck.then:
            received = connection.recv(65_536)
            connection.sendall(stuck.then)
        start = time.monotonic()
        while part := connection.recv(65_536):
            received += part
        return Ended(time.monotonic() - start, received)


@pytest.mark.parametrize("name", STUCK)
def test_it_is_ended_at_its_deadline_and_told_why(ended: dict[str, Ended], name: str) -> None:
    stuck, (after_seconds, received) = STUCK[name], ended[name]
    assert stuck.at_seconds - 0.1 <= after_seconds
    assert after_seconds <= stuck.at_seconds + GRACE_SECONDS + LATE
    if stuck.expected_status is None:
        assert received == b""
    else:
        assert int(received.split(b"HTTP/1.1 ")[-1][:3]) == stuck.expected_status


def test_a_slow_but_steady_body_is_read_and_answered(service: httpx.Client) -> None:
    with connect(service) as connection:
        connection.sendall(post(b"/predict", len(PNG)))
        for start in range(0, len(PNG), len(PNG) // 10):
            connection.sendall(PNG[start : start + len(PNG) // 10])
            time.sleep(0.05)
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def test_a_connection_whose_answers_nobody_reads_is_ended(service: httpx.Client) -> None:
    """Once the buffers on the way are full."""
    with connect(service) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        requests = b"GET /model-info HTTP/1.1\r\nHost: localhost\r\n\r\n" * 10
        start = time.monotonic()
        with pytest.raises((ConnectionError, TimeoutError)):  # reset while sending, sooner or later
            connection.settimeout(DEADLINE_SECONDS + ANSWER_SECONDS + 10)
            while True:
                connection.sendall(requests)
                time.sleep(0.05)  # so that they are answered, and not ahead of too many answers
        assert DEADLINE_SECONDS < time.monotonic() - start <= DEADLINE_SECONDS + ANSWER_SECONDS + HEAD_SECONDS + LATE


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"GET /" + b"a" * MAX_HEAD_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * MAX_HEAD_BYTES + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * (MAX_HEADERS + 1) + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 500_000, 431),
    ],
    ids=["nonsense", "connect", "length", "address", "chunk", "long address", "long header", "many headers", "endless header"],
)
def test_what_is_no_request_is_refused_by_a_problem(service: httpx.Client, sent: bytes, status: int) -> None:
    with connect(service) as connection:
        connection.sendall(sent)
        received = b""
        while part := connection.recv(65_536):
            received += part
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in head
    problem = json.loads(body)
    assert problem["status"] == status
    assert f"x-request-id: {problem['request_id']}".encode() in head


def test_a_head_may_come_in_pieces(service: httpx.Client) -> None:
    head = b"GET /health HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: %b\r\n" % (number, b"a" * 250) for number in range(80))
    with connect(service) as connection:
        for start in range(0, len(head), 1000):
            connection.sendall(head[start : start + 1000])
            time.sleep(0.01)
        connection.sendall(b"\r\n")
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")


def read_all(connection: socket.socket) -> bytes:
    received = b""
    while part := connection.recv(65_536):
        received += part
    return received


def statuses(received: bytes) -> list[int]:
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def test_what_goes_wrong_behind_a_request_does_not_take_its_answer(service: httpx.Client) -> None:
    """It is in work when the rest comes; nothing is answered but the one, and the connection is ended."""
    for rest in (b"nonsense\r\n\r\n", b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n"):
        with connect(service) as connection:
            connection.sendall(post(b"/predict", len(SLOW), SLOW))
            time.sleep(0.1)
            connection.sendall(rest)
            assert statuses(read_all(connection)) == [200]


def test_requests_ahead_of_their_answers_are_bounded(service: httpx.Client) -> None:
    with connect(service) as connection:
        connection.sendall(post(b"/predict", len(SLOW), SLOW))
        time.sleep(0.1)
        connection.sendall(HEALTH * 100)
        assert statuses(read_all(connection)) == [200] * (1 + MAX_PIPELINED)


@pytest.mark.parametrize("rest", [b"zz\r\n", b"0\r\nX: " + b"a" * 1_000_000], ids=["bad chunk", "endless trailer"])
def test_a_body_that_goes_wrong_later_is_refused_and_logs_no_error(rest: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    with running_service() as client:
        with connect(client) as connection:
            connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
            time.sleep(0.2)
            connection.sendall(rest)
            assert statuses(read_all(connection)) == [400 if rest.startswith(b"zz") else 431]
        assert client.get("/health").status_code == 200
    assert '"level":"ERROR"' not in capfd.readouterr().err


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"x"])
def test_another_protocol_is_not_taken_up_and_the_request_answered(service: httpx.Client, protocol: bytes) -> None:
    asking = b"\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: %b\r\nHTTP2-Settings: AAMAAABk\r\n\r\n" % protocol
    content = post(b"/predict", len(PNG), PNG).replace(b"\r\n\r\n", asking, 1)
    with connect(service) as connection:
        connection.sendall(content[:-1000])
        time.sleep(0.05)
        connection.sendall(content[-1000:] + HEALTH.replace(b"Host", b"Connection: close\r\nHost"))
        assert statuses(read_all(connection)) == [200, 200]


def test_a_body_in_a_million_tiny_chunks_is_refused(service: httpx.Client) -> None:
    with connect(service) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                connection.sendall(b"1\r\nx\r\n" * 10_000)
        assert b"tiny chunks" in connection.recv(65_536)


def test_a_body_in_ordinary_chunks_is_read(service: httpx.Client) -> None:
    chunks = (SLOW[start : start + 300] for start in range(0, len(SLOW), 300))
    assert service.post("/predict", content=chunks).status_code == 200


def test_a_client_that_leaves_costs_no_inference() -> None:
    """Of six, all but those that were answered before they could leave."""
    with running_service(lanes=1) as client:
        connections = [connect(client) for _ in range(6)]
        for connection in connections:
            connection.sendall(post(b"/predict", len(SLOW), SLOW))
        for connection in connections:
            connection.close()
        assert client.post("/predict", content=PNG).status_code == 200
        for _ in range(200):  # the body of one that has left may be read last, and its decoding be under way
            lines = client.get("/metrics").text.splitlines()
            of = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))}
            if of["medxfer_in_flight_images"] == of["medxfer_in_flight_bytes"] == 0:
                break
            time.sleep(0.05)
        else:
            raise AssertionError("a place was never given back")
        left, answered = (
            of[f'medxfer_requests_total{{outcome="{outcome}",route="/predict"}}'] for outcome in ("left", "answered")
        )
        assert left >= 1
        assert left + answered <= 7  # who leaves before the first step of its request is not counted
        assert of["medxfer_inference_seconds_count"] <= answered + 1  # one may have left its lane for nobody
