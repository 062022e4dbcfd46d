import time
from contextlib import ExitStack

import pytest

from service.engine.admission import Admission
from service.errors import Overloaded


class Clock:
    """Stands still until a test moves it."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


def complete(admission: Admission, clock: Clock, images: int, seconds: float) -> None:
    """Completes images one after the other, each in `seconds`."""
    for _ in range(images):
        with admission.image():
            clock.seconds += seconds


def test_more_images_than_the_limit_are_rejected_before_and_after_their_body() -> None:
    admission = Admission(max_images=2, max_bytes=10)
    with admission.image(), admission.image():
        with pytest.raises(Overloaded, match="images in work: 2"):
            admission.check_request(1, 10)
        with pytest.raises(Overloaded, match="images in work: 2") as rejection, admission.image():
            pass
    assert rejection.value.retry_after_seconds == 1
    admission.check_request(1, 10)


def test_a_body_that_would_be_one_byte_too_many_is_rejected_before_it_is_read() -> None:
    admission = Admission(max_images=2, max_bytes=10)
    with admission.body() as add_bytes:
        add_bytes(6)
        admission.check_request(4, 10)
        with pytest.raises(Overloaded, match="6 bytes are in work; 5 more"):
            admission.check_request(5, 10)
    admission.check_request(5, 10)


def test_bodies_that_grow_past_the_limit_together_are_rejected() -> None:
    admission = Admission(max_images=2, max_bytes=10)
    with admission.body() as add_bytes:
        add_bytes(6)
        with pytest.raises(Overloaded, match="over 10 bytes"), admission.body() as add_other_bytes:
            add_other_bytes(5)
        assert admission.bytes == 6
    assert admission.bytes == 0


def test_a_failure_gives_its_place_back() -> None:
    admission = Admission(max_images=1, max_bytes=10)
    for _ in range(3):
        with pytest.raises(KeyError), admission.image():
            raise KeyError
    assert admission.images == 0


def test_a_request_that_would_miss_its_deadline_is_rejected_at_once(clock: Clock) -> None:
    admission = Admission(max_images=100, max_bytes=10)
    complete(admission, clock, images=30, seconds=0.01)
    with ExitStack() as places:
        for _ in range(50):
            places.enter_context(admission.image())
        with pytest.raises(Overloaded, match="more than the deadline"):
            admission.check_request(1, 0.1)
        admission.check_request(1, 60)


def test_the_time_to_retry_follows_from_the_measured_rate(clock: Clock) -> None:
    admission = Admission(max_images=200, max_bytes=10)
    complete(admission, clock, images=100, seconds=0.02)
    with ExitStack() as places, pytest.raises(Overloaded) as rejection:
        for _ in range(201):
            places.enter_context(admission.image())
    assert rejection.value.retry_after_seconds == 4  # 200 images of 0.02 s


def test_time_without_work_does_not_count(clock: Clock) -> None:
    admission = Admission(max_images=9, max_bytes=10)
    complete(admission, clock, images=20, seconds=0.001)
    clock.seconds += 100
    complete(admission, clock, images=1, seconds=0.001)
    with admission.image():
        admission.check_request(1, 0.02)
