import time
from contextlib import ExitStack

import pytest

from service.engine.admission import Admission
from service.errors import Overloaded


def busy(admission: Admission, images: int, seconds: float) -> None:
    """As after many images that took `seconds` each, one after the other."""
    for _ in range(images):
        with admission.image():
            time.sleep(seconds)


def test_more_images_than_the_limit_are_refused_before_and_after_their_body() -> None:
    admission = Admission(max_images=2, max_bytes=10)
    with admission.image(), admission.image():
        with pytest.raises(Overloaded, match="images in work: 2"):
            admission.check_request(1, 10)
        with pytest.raises(Overloaded, match="images in work: 2") as refusal, admission.image():
            pass
    assert refusal.value.retry_after_seconds == 1
    admission.check_request(1, 10)


def test_a_body_that_would_be_one_byte_too_many_is_refused_before_it_is_read() -> None:
    admission = Admission(max_images=2, max_bytes=10)
    with admission.body() as note:
        note(6)
        admission.check_request(4, 10)
        with pytest.raises(Overloaded, match="6 bytes are in work; 5 more"):
            admission.check_request(5, 10)
    admission.check_request(5, 10)


def test_bodies_that_grow_past_the_limit_together_are_refused() -> None:
    admission = Admission(max_images=2, max_bytes=10)
    with admission.body() as one:
        one(6)
        with pytest.raises(Overloaded, match="over 10 bytes"), admission.body() as other:
            other(5)
        assert admission.bytes == 6
    assert admission.bytes == 0


def test_a_place_is_free_again_after_a_failure() -> None:
    admission = Admission(max_images=1, max_bytes=10)
    for _ in range(3):
        with pytest.raises(KeyError), admission.image():
            raise KeyError
    assert admission.images == 0


def test_an_answer_that_would_come_too_late_is_refused_at_once() -> None:
    admission = Admission(max_images=100, max_bytes=10)
    busy(admission, images=30, seconds=0.01)
    with ExitStack() as places:
        for _ in range(50):
            places.enter_context(admission.image())
        with pytest.raises(Overloaded, match="more than the deadline"):
            admission.check_request(1, 0.1)
        admission.check_request(1, 60)


def test_when_to_come_again_follows_from_the_measured_rate() -> None:
    admission = Admission(max_images=200, max_bytes=10)
    busy(admission, images=30, seconds=0.02)
    with ExitStack() as places, pytest.raises(Overloaded) as refusal:
        for _ in range(201):
            places.enter_context(admission.image())
    assert refusal.value.retry_after_seconds >= 200 * 0.02 * 0.8  # at least: `sleep` never ends early


def test_time_without_work_does_not_count() -> None:
    admission = Admission(max_images=9, max_bytes=10)
    busy(admission, images=20, seconds=0)
    time.sleep(0.3)
    busy(admission, images=1, seconds=0)
    with admission.image():
        admission.check_request(1, 0.02)
