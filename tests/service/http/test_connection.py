"""Connections of slow, silent and malformed clients. The ones that wait for a deadline do so beside the other tests."""

import json
import select
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import httpx
import pytest

from service.http.connection import ANSWER_SECONDS, GRACE_SECONDS, HEAD_SECONDS, MAX_PIPELINED
from service.server import KEEP_ALIVE_SECONDS
from tests.conftest import encode, grey
from tests.service.http.helpers import INFER, metric, slow_image
from tests.torture.process import Service, serving
from tests.torture.wire import chunked, connect, exchange, form, get, part, post, request

PNG = encode(grey(120, 100))
DEADLINE_SECONDS = 3
SECONDS = 60  # after which a test fails because its connection is still open
HEALTH = get("/health")


def half_body(path: str, *headers: str) -> bytes:
    return request("POST", path, *headers, "Content-Length: 1000", length=False) + b"x"


class Stuck(NamedTuple):
    """A client that sends `sent`, and `then` after the first answer, and after that nothing."""

    sent: bytes
    statuses: list[int]  # of all answers until the connection ends
    seconds: float  # at least, from the last byte sent to the end
    then: bytes = b""
    words: bytes = b""  # in what it received


Ends = dict[str, "Future[tuple[float, bytes]]"]  # by name: seconds until the end, and what came
BODY_SECONDS = DEADLINE_SECONDS + GRACE_SECONDS
SHORT, LONG = "X-Request-Timeout-Ms: 50", "X-Request-Timeout-Ms: 90000"
STUCK = {
    "nothing": Stuck(b"", [], HEAD_SECONDS),
    "half a head": Stuck(b"GET /health HTTP/1.1\r\nHo", [408], HEAD_SECONDS),
    "half a body": Stuck(half_body("/predict"), [408], BODY_SECONDS),
    "half a body, shorter deadline": Stuck(half_body("/predict", SHORT), [408], 0.05, words=b"after 50 ms"),
    "half a body, longer deadline": Stuck(half_body("/predict", LONG), [408], BODY_SECONDS, words=b"after 3000 ms"),
    "half a body of another route": Stuck(half_body(INFER, SHORT), [408], 0.05, words=b"after 50 ms"),
    "a body that no route reads": Stuck(half_body("/nowhere"), [404], BODY_SECONDS),
    "nothing after an answer": Stuck(HEALTH, [200], KEEP_ALIVE_SECONDS),
    "half a head after an answer": Stuck(HEALTH, [200, 408], HEAD_SECONDS, then=b"GET /he"),
    "half a body after an answer": Stuck(HEALTH, [200, 408], BODY_SECONDS, then=half_body("/predict")),
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving(deadline_ms=1000 * DEADLINE_SECONDS, lanes=1) as service:
        yield service


@pytest.fixture(scope="module", autouse=True)
def ends(service: Service) -> Iterator[Ends]:
    """Starts all waits with the first test. Their results are read by the last tests of the file."""
    with ThreadPoolExecutor(len(STUCK) + 1) as threads:
        ends = {name: threads.submit(wait_for_end, service, stuck) for name, stuck in STUCK.items()}
        yield ends | {"unread answers": threads.submit(read_no_answers, service)}
        service.process.kill()  # ends the waits that no selected test reads


def wait_for_end(service: Service, stuck: Stuck) -> tuple[float, bytes]:
    with connect(service.port) as connection:
        connection.settimeout(SECONDS)
        connection.sendall(stuck.sent)
        received = connection.recv(65_536) if stuck.then else b""
        connection.sendall(stuck.then)
        start = time.monotonic()
        received += read_all(connection)
        return time.monotonic() - start, received


def read_no_answers(service: Service) -> tuple[float, bytes]:
    """Sends a request after each answer, until all buffers on the way are full and, later, the connection is reset."""
    with connect(service.port) as connection:
        connection.settimeout(SECONDS)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reset = select.poll()
        reset.register(connection, select.POLLERR | select.POLLHUP)
        start, sent = time.monotonic(), 0
        while not reset.poll(10):  # milliseconds
            assert time.monotonic() - start < SECONDS
            if sum(line["route"].startswith("/report") for line in service.requests()) == sent:
                connection.sendall(get("/report/reliability.png"))
                sent += 1
        return time.monotonic() - start, b""


def read_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def statuses(received: bytes) -> list[int]:
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def answers(service: Service, *pieces: bytes, pause: float = 0.05) -> bytes:
    """All that comes on a new connection until it ends, if it sends `pieces` with pauses between."""
    with connect(service.port) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause)
        return read_all(connection)


@pytest.mark.parametrize(("sent", "status"), [(b"nonsense\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nX: " + b"a" * 500_000, 431)])
def test_a_malformed_request_is_answered_with_a_problem(service: Service, sent: bytes, status: int) -> None:
    head, _, body = answers(service, sent).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"application/problem+json" in head
    problem = json.loads(body)
    assert problem["status"] == status
    assert f"x-request-id: {problem['request_id']}".encode() in head


LONG_HEAD = get("/health", "Connection: close", *(f"X-{number}: {'a' * 250}" for number in range(80)))


@pytest.mark.parametrize("content", [LONG_HEAD, post(PNG, "Connection: close")], ids=["head", "body"])
def test_a_request_that_comes_in_pieces_is_answered(service: Service, content: bytes) -> None:
    pieces = [content[start : start + 2000] for start in range(0, len(content), 2000)]
    assert statuses(answers(service, *pieces, pause=0.02)) == [200]


@pytest.mark.parametrize(
    ("rest", "count"),
    [
        (b"nonsense\r\n\r\n", 1),
        (b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", 1),
        (b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 1),
        (HEALTH * 100, 1 + MAX_PIPELINED),
    ],
)
def test_a_malformed_request_or_too_many_behind_one_in_work_do_not_take_its_answer(
    service: Service, rest: bytes, count: int
) -> None:
    assert statuses(answers(service, post(PNG) + rest)) == [200] * count  # sent at once, so that the image is in work


@pytest.mark.parametrize(("rest", "status"), [(b"zz\r\n", 400), (b"0\r\nX: " + b"a" * 1_000_000, 431)])
def test_a_body_that_becomes_malformed_is_rejected(service: Service, rest: bytes, status: int) -> None:
    begin = request("POST", "/predict", "Transfer-Encoding: chunked", length=False) + b"1\r\na\r\n"
    assert statuses(answers(service, begin, rest, pause=0.2)) == [status]  # the app has begun to read the body


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "x"])
def test_a_request_to_upgrade_the_protocol_is_answered_without_it(service: Service, protocol: str) -> None:
    content = post(PNG, "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AAMAAABk")
    assert statuses(answers(service, content[:-1000], content[-1000:] + get("/health", "Connection: close"))) == [200, 200]


def test_a_body_in_many_ordinary_chunks_is_read(service: Service) -> None:
    content = encode(grey(120, 100), "JPEG").ljust(3_300_000, b"\0")
    chunks = [content[start : start + 300] for start in range(0, len(content), 300)]
    assert exchange(service.port, chunked(*chunks)).status == 200


def outcomes(service: Service) -> Counter[str]:
    return Counter(line["outcome"] for line in service.requests() if line["route"] == "/predict")


def test_a_log_line_says_what_became_of_a_request(service: Service) -> None:
    form_of_two = form(part(PNG, "images"), part(b"x", "images"), path="/predict/batch")
    exchange(service.port, form_of_two.replace(b"\r\n", b"\r\nX-Request-ID: of-a-batch\r\n", 1))
    exchange(service.port, post(b"x", "X-Request-ID: of-no-image"))
    while len(lines := {line["request_id"]: line for line in service.requests() if line["request_id"].startswith("of-")}) < 2:
        time.sleep(0.05)  # a line may come after the answer
    batch, failed = lines["of-a-batch"], lines["of-no-image"]
    assert (batch["images"], batch["refused"], batch["outcome"]) == (2, 1, "answered")
    assert batch["bytes"] > len(PNG)
    assert "decode_ms" not in batch
    assert (failed["problem"], failed["outcome"]) == ("Unsupported image type", "refused")
    assert "images" not in failed


def test_the_log_names_the_variant_and_the_reason_for_it(service: Service) -> None:
    [ready] = (json.loads(line) for line in service.log.read_text().splitlines() if '"message":"ready"' in line)
    assert {"model", "variant", "reason", "sha256", "cpus", "lanes"} <= set(ready)


def test_a_client_that_leaves_costs_no_inference(service: Service) -> None:
    """A client may be answered before it leaves, and is not logged if it leaves before the first step of its request."""
    client = httpx.Client(base_url=f"http://127.0.0.1:{service.port}", trust_env=False)
    before, runs_before, sent = outcomes(service), metric(client, "medxfer_inference_seconds_count"), 0
    while outcomes(service)["left"] == before["left"]:
        assert (sent := sent + 6) < 100
        connections = [connect(service.port, post(slow_image())) for _ in range(6)]
        for connection in connections:
            connection.close()
        while metric(client, "medxfer_in_flight"):
            time.sleep(0.05)
    found = outcomes(service) - before
    assert found["left"] + found["answered"] <= sent
    assert metric(client, "medxfer_inference_seconds_count") - runs_before <= found["answered"] + 1  # one may be in a lane
    assert exchange(service.port, post(PNG)).status == 200
    client.close()


@pytest.mark.parametrize("name", STUCK)
def test_a_stuck_connection_is_ended_at_its_deadline(ends: Ends, name: str) -> None:
    stuck, (seconds, received) = STUCK[name], ends[name].result()
    assert seconds >= stuck.seconds - 0.1
    assert statuses(received) == stuck.statuses
    assert stuck.words in received


def test_a_connection_whose_answers_are_not_read_is_ended(ends: Ends) -> None:
    seconds, _ = ends["unread answers"].result()
    assert seconds >= DEADLINE_SECONDS + ANSWER_SECONDS


def test_none_of_these_clients_causes_an_error_in_the_log(service: Service) -> None:
    assert service.errors() == []
