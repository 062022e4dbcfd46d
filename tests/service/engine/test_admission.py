import asyncio
import threading
import time

import pytest

from service.engine.admission import Admission
from service.engine.engine import Engine
from service.errors import Overloaded
from service.images.decode import DecodedImage, decode_image
from service.settings import Settings
from tests.conftest import DEFAULT_MODEL
from tests.service.http.helpers import PNG


class Clock:
    seconds = 100.0

    def complete(self, admission: Admission, images: int, seconds: float) -> None:
        for _ in range(images):
            with admission.image():
                self.seconds += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", lambda: clock.seconds)
    return clock


@pytest.fixture
def admission() -> Admission:
    return Admission(max_images=2, max_bytes=10)


def test_more_images_than_the_limit_are_rejected_before_and_after_their_body(admission: Admission) -> None:
    with admission.image(), admission.image():
        with pytest.raises(Overloaded, match="images in work: 2"):
            admission.check_request(1, 10)
        with pytest.raises(Overloaded, match="images in work: 2") as rejection, admission.image():
            pass
    assert rejection.value.retry_after_seconds == 1
    admission.check_request(1, 10)


def test_bodies_are_rejected_that_would_be_one_byte_too_many_or_grow_so_together(admission: Admission) -> None:
    with admission.body() as add_bytes:
        add_bytes(6)
        admission.check_request(4, 10)
        with pytest.raises(Overloaded, match="6 bytes are in work; 5 more"):
            admission.check_request(5, 10)
        with pytest.raises(Overloaded, match="over 10 bytes"), admission.body() as add_other_bytes:
            add_other_bytes(5)
        assert admission.bytes == 6
    assert admission.bytes == 0
    admission.check_request(5, 10)


def test_a_failure_gives_its_place_back(admission: Admission) -> None:
    with pytest.raises(KeyError), admission.image():
        raise KeyError
    assert admission.images == 0


def test_the_measured_rate_gives_the_wait_for_an_answer_and_the_time_to_retry(admission: Admission, clock: Clock) -> None:
    clock.complete(admission, images=100, seconds=3.3)
    with admission.image():
        with pytest.raises(Overloaded, match=r"an answer would take 3\.3 s, more than the deadline"):
            admission.check_request(1, 3.2)
        admission.check_request(1, 3.4)
        with admission.image(), pytest.raises(Overloaded) as rejection:
            admission.check_places()
    assert rejection.value.retry_after_seconds == 7  # two images of 3.3 s


def test_time_without_work_does_not_count(admission: Admission, clock: Clock) -> None:
    clock.complete(admission, images=20, seconds=0.1)
    clock.seconds += 100
    clock.complete(admission, images=1, seconds=0.1)
    with admission.image():
        admission.check_request(1, 0.1)


@pytest.mark.anyio
async def test_a_decode_that_outlives_its_request_keeps_its_place() -> None:
    engine = Engine.load(Settings(model=str(DEFAULT_MODEL), lanes=1))
    has_begun, may_end = threading.Event(), threading.Event()

    def decode() -> DecodedImage:
        has_begun.set()
        may_end.wait()
        return decode_image(PNG)

    request = asyncio.create_task(engine.predict(decode))
    await asyncio.to_thread(has_begun.wait)
    request.cancel()
    await asyncio.wait([request])
    images = engine.admission.images
    may_end.set()
    assert images == 1
    while engine.admission.images:
        await asyncio.sleep(0.001)
