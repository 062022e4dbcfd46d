"""A plain `POST /predict` goes past Litestar; with a time limit of its own, it goes through. Both answer alike."""

import asyncio
import re
from collections.abc import Iterator

import httpx
import pytest

from service.http.connection import OneWrite
from tests.conftest import running_service
from tests.service.http.helpers import PNG

THROUGH = {"X-Request-Timeout-Ms": "5000"}
FORM = {"content-type": "multipart/form-data; boundary=x"}
REQUESTS: dict[str, tuple[str, bytes, dict[str, str]]] = {
    "bytes": ("", PNG, {}),
    "form": ("", b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\n' + PNG + b"\r\n--x--\r\n", FORM),
    "a heat-map": ("?heatmap=true", PNG, {}),
    "no heat-map": ("?heatmap=false", PNG, {"X-Request-ID": "mine"}),
    "a trace": ("", PNG, {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}),
    "an unknown parameter": ("?Heatmap=true", PNG, {}),
    "nothing": ("", b"", {}),
    "no image": ("", b"no image", {"content-type": "text/plain"}),
    "a damaged image": ("", PNG[:300], {}),
    "a damaged form": ("", b"--x\r\n", FORM),
    "a compressed body": ("", PNG, {"content-encoding": "gzip"}),
    "too many bytes": ("", b"\0" * 300_000, {}),
}
CHANGING = r'"(request_id|timing_ms)":("[^"]*"|{[^}]*})'


@pytest.fixture(scope="module", params=["", "a-token"])
def small_service(request: pytest.FixtureRequest) -> Iterator[httpx.Client]:
    with running_service(max_body_bytes=200_000, token=request.param) as client:
        if request.param:
            client.headers["Authorization"] = f"bearer  {request.param}"
        yield client


@pytest.mark.parametrize("name", REQUESTS)
def test_both_ways_answer_alike(name: str, small_service: httpx.Client) -> None:
    query, body, headers = REQUESTS[name]
    answers = [small_service.post(f"/predict{query}", content=body, headers=headers | more) for more in ({}, THROUGH)]
    plain, through = ((answer.status_code, re.sub(CHANGING, "", answer.text), set(answer.headers)) for answer in answers)
    assert plain == through
    lengths = [len(answer.content) == int(answer.headers["content-length"]) for answer in answers]
    assert lengths == [True, True]


def test_neither_way_answers_without_the_token() -> None:
    with running_service(token="secret") as client:
        for headers in ({}, THROUGH):
            for offered in ("", "Bearer wrong", "Basic secret"):
                answer = client.post("/predict", content=PNG, headers=headers | {"Authorization": offered})
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")


class Recorder(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.written.append(b"closed")


def test_head_and_body_leave_together_and_what_comes_before_and_after_them_at_once() -> None:
    transport = Recorder()
    answer = OneWrite(transport)
    answer.write(b"HTTP/1.1 100 Continue")
    answer.write(b"head ")
    assert transport.written == [b"HTTP/1.1 100 Continue"]
    answer.write(b"body")
    answer.write(b"more")
    answer.flush()
    assert transport.written == [b"HTTP/1.1 100 Continue", b"head body", b"more"]


@pytest.mark.parametrize(("end", "after"), [("flush", []), ("close", [b"closed"])])
def test_a_head_without_a_body_is_sent_at_the_end(end: str, after: list[bytes]) -> None:
    transport = Recorder()
    answer = OneWrite(transport)
    answer.write(b"head")
    getattr(answer, end)()
    assert transport.written == [b"head", *after]
