"""One service with small limits and one permitted origin: how it rejects, and what pages of that origin can read."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.conftest import encode, running_service
from tests.service.http.helpers import INFER, PIXELS, PNG, assert_problem, metric, slow_image

ORIGIN = {"origin": "https://example.org"}
MAX_BODY_BYTES = 2_000_000
FULL = "images in work: 2"


@pytest.fixture(scope="module")
def service() -> Iterator[httpx.Client]:
    """The deadline is long, so that a slow machine rejects nothing because of it."""
    limits = {"queue_limit": 2, "lanes": 1, "max_body_bytes": MAX_BODY_BYTES, "deadline_ms": 60_000}
    with running_service(**limits, cors_origin=ORIGIN["origin"]) as client:
        yield client


def send_while_busy(service: httpx.Client, places: int, send: Callable[[], httpx.Response]) -> httpx.Response:
    """Keeps places taken by slow images, and repeats a request until it comes while they are, not between two of them."""
    done = threading.Event()

    def post_slow_images() -> None:
        while not done.is_set():
            httpx.post(f"{service.base_url}/predict", content=slow_image(), timeout=60, trust_env=False)

    with ThreadPoolExecutor(places) as threads:
        try:
            for _ in range(places):
                threads.submit(post_slow_images)
            for _ in range(10_000):
                if metric(service, "medxfer_in_flight_images") == places and FULL in (answer := send()).text:
                    assert service.get("/health").status_code == 200
                    return answer
                time.sleep(0.005)
        finally:
            done.set()
    raise AssertionError(f"no answer of the busy service has «{FULL}»")


@pytest.mark.parametrize(("path", "headers"), [("/predict", {}), (INFER, {}), ("/predict", ORIGIN)])
def test_a_full_service_rejects_unread_and_says_when(service: httpx.Client, path: str, headers: dict[str, str]) -> None:
    answer = send_while_busy(service, 2, lambda: service.post(path, content=b"is not read", headers=headers))
    assert_problem(answer, 429, FULL)
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers.get("access-control-allow-origin") == headers.get("origin")  # so that a page can read it
    assert ("retry-after" in answer.headers.get("access-control-expose-headers", "").lower()) == bool(headers)
    assert answer.json().get("error", "") == (answer.json()["detail"] if path == INFER else "")
    assert service.post("/predict", content=PNG).status_code == 200


@pytest.mark.parametrize(("origin", "readable"), [(ORIGIN["origin"], True), ("https://example.com", False)])
def test_only_pages_of_the_permitted_origin_can_read_answers(service: httpx.Client, origin: str, readable: bool) -> None:
    answer = service.post("/predict", content=PNG, headers={"origin": origin})
    assert (answer.headers.get("access-control-allow-origin") == origin) == readable


def test_each_image_of_a_batch_takes_a_place_and_it_has_no_more_than_there_are(service: httpx.Client) -> None:
    answer = send_while_busy(service, 1, lambda: service.post("/predict/batch", files=[("images", PNG)] * 2))
    first, second = answer.json()["results"]
    assert (list(first), second["problem"]["status"]) == (["prediction"], 429)
    assert_problem(service.post("/predict/batch", files=[("images", PNG)] * 3), 400, "1 to 2 times")


def test_a_body_may_have_just_the_most_bytes(service: httpx.Client) -> None:
    content = encode(PIXELS, "JPEG").ljust(MAX_BODY_BYTES, b"\0")
    assert service.post("/predict", content=content).status_code == 200
    assert_problem(service.post("/predict", content=content + b"x"), 413, "2,000,000 bytes")
    assert_problem(service.post("/predict", content=iter([content, b"x"])), 413, "2,000,000 bytes")
