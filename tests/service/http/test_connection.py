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
LONG_HEAD = get("/health", "Connection: close", *(f"X-{number}: {'a' * 250}" for number in range(80)))


class Ended(NamedTuple):
    """How a connection ended: the statuses of all answers, the seconds from the last byte sent, and what came."""

    statuses: list[int]
    seconds: float
    received: bytes


def send(service: Service, *pieces: bytes, pause: float = 0.05) -> Ended:
    """Sends the pieces with pauses between them on a new connection, and reads until it ends."""
    with connect(service.port) as connection:
        connection.settimeout(SECONDS)
        for piece in pieces:
            connection.sendall(piece)
            start = time.monotonic()
            time.sleep(pause)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    statuses = [int(answer[:3]) for answer in received.split(b"HTTP/1.1 ")[1:]]
    return Ended(statuses, time.monotonic() - start, received)


def half_body(path: str, *headers: str) -> bytes:
    return request("POST", path, *headers, "Content-Length: 1000", length=False) + b"x"


BODY_SECONDS = DEADLINE_SECONDS + GRACE_SECONDS
SHORT, LONG = "X-Request-Timeout-Ms: 50", "X-Request-Timeout-Ms: 90000"
STUCK = {  # what is sent before nothing more comes, and how the connection ends: statuses, at least seconds, words
    "nothing": ([b""], Ended([], HEAD_SECONDS, b"")),
    "half a head": ([b"GET /health HTTP/1.1\r\nHo"], Ended([408], HEAD_SECONDS, b"")),
    "half a body": ([half_body("/predict")], Ended([408], BODY_SECONDS, b"")),
    "half a body, shorter deadline": ([half_body("/predict", SHORT)], Ended([408], 0.05, b"after 50 ms")),
    "half a body, longer deadline": ([half_body("/predict", LONG)], Ended([408], BODY_SECONDS, b"after 3000 ms")),
    "half a body of another route": ([half_body(INFER, SHORT)], Ended([408], 0.05, b"after 50 ms")),
    "a body that no route reads": ([half_body("/nowhere")], Ended([404], BODY_SECONDS, b"")),
    "nothing after an answer": ([HEALTH], Ended([200], KEEP_ALIVE_SECONDS, b"")),
    "half a head after an answer": ([HEALTH, b"GET /he"], Ended([200, 408], HEAD_SECONDS, b"")),
    "half a body after an answer": ([HEALTH, half_body("/predict")], Ended([200, 408], BODY_SECONDS, b"")),
}


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving(deadline_ms=1000 * DEADLINE_SECONDS, lanes=1) as service:
        yield service


@pytest.fixture(scope="module", autouse=True)
def ends(service: Service) -> Iterator[dict[str, Future[Ended]]]:
    """Starts all waits with the first test. Their results are read by the last tests of the file."""
    with ThreadPoolExecutor(len(STUCK) + 1) as threads:
        ends = {name: threads.submit(send, service, *pieces, pause=0.5) for name, (pieces, _) in STUCK.items()}
        yield ends | {"unread answers": threads.submit(read_no_answers, service)}
        service.process.kill()  # ends the waits that no selected test reads


def read_no_answers(service: Service) -> Ended:
    """Sends a request after each answer, until all buffers on the way are full and, later, the connection is reset."""
    with connect(service.port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reset = select.poll()
        reset.register(connection, select.POLLERR | select.POLLHUP)
        start, sent = time.monotonic(), 0
        while not reset.poll(10):  # milliseconds
            assert time.monotonic() - start < SECONDS
            if sum(line["route"].startswith("/report") for line in service.requests()) == sent:
                connection.sendall(get("/report/reliability.png"))
                sent += 1
        return Ended([], time.monotonic() - start, b"")


@pytest.mark.parametrize(("sent", "status"), [(b"nonsense\r\n\r\n", 400), (b"GET / HTTP/1.1\r\nX: " + b"a" * 500_000, 431)])
def test_a_malformed_request_is_answered_with_a_problem(service: Service, sent: bytes, status: int) -> None:
    ended = send(service, sent)
    head, _, body = ended.received.partition(b"\r\n\r\n")
    problem = json.loads(body)
    assert (ended.statuses, problem["status"]) == ([status], status)
    assert b"application/problem+json" in head
    assert f"x-request-id: {problem['request_id']}".encode() in head


@pytest.mark.parametrize("content", [LONG_HEAD, post(PNG, "Connection: close")], ids=["head", "body"])
def test_a_request_that_comes_in_pieces_is_answered(service: Service, content: bytes) -> None:
    pieces = [content[start : start + 2000] for start in range(0, len(content), 2000)]
    assert send(service, *pieces, pause=0.02).statuses == [200]


@pytest.mark.parametrize("rest", [b"nonsense", b"GET http://[ HTTP/1.1\r\nHost: x", b"GET /\xff HTTP/1.1\r\nHost: x"])
def test_a_malformed_request_behind_one_in_work_does_not_take_its_answer(service: Service, rest: bytes) -> None:
    assert send(service, post(PNG) + rest + b"\r\n\r\n").statuses == [200]  # sent at once, so that the image is in work


def test_requests_ahead_of_their_answers_are_limited(service: Service) -> None:
    assert send(service, post(PNG) + HEALTH * 100).statuses == [200] * (1 + MAX_PIPELINED)


@pytest.mark.parametrize(("rest", "status"), [(b"zz\r\n", 400), (b"0\r\nX: " + b"a" * 1_000_000, 431)])
def test_a_body_that_becomes_malformed_is_rejected(service: Service, rest: bytes, status: int) -> None:
    begin = request("POST", "/predict", "Transfer-Encoding: chunked", length=False) + b"1\r\na\r\n"
    assert send(service, begin, rest, pause=0.2).statuses == [status]  # the app has begun to read the body


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "x"])
def test_a_request_to_upgrade_the_protocol_is_answered_without_it(service: Service, protocol: str) -> None:
    content = post(PNG, "Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AAMAAABk")
    assert send(service, content[:-1000], content[-1000:] + get("/health", "Connection: close")).statuses == [200, 200]


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
    with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", trust_env=False) as client:
        before, runs_before, sent = outcomes(service), metric(client, "medxfer_inference_seconds_count"), 0
        while outcomes(service)["left"] == before["left"]:
            assert (sent := sent + 6) < 100
            for connection in [connect(service.port, post(slow_image())) for _ in range(6)]:
                connection.close()
            while metric(client, "medxfer_in_flight"):
                time.sleep(0.05)
        found = outcomes(service) - before
        assert found["left"] + found["answered"] <= sent
        assert metric(client, "medxfer_inference_seconds_count") - runs_before <= found["answered"] + 1  # one may be in a lane
    assert exchange(service.port, post(PNG)).status == 200


@pytest.mark.parametrize("name", STUCK)
def test_a_stuck_connection_is_ended_at_its_deadline(ends: dict[str, Future[Ended]], name: str) -> None:
    (_, expected), ended = STUCK[name], ends[name].result()
    assert ended.statuses == expected.statuses
    assert ended.seconds >= expected.seconds - 0.1
    assert expected.received in ended.received


def test_a_connection_whose_answers_are_not_read_is_ended(ends: dict[str, Future[Ended]]) -> None:
    assert ends["unread answers"].result().seconds >= DEADLINE_SECONDS + ANSWER_SECONDS


def test_none_of_these_clients_causes_an_error_in_the_log(service: Service) -> None:
    assert service.errors() == []
