import asyncio
import contextlib
import gc
import threading
import time
import weakref

import pytest
from PIL import Image

from service.engine.admission import MEASURED, Admission
from service.engine.engine import Engine
from service.errors import Overloaded, UndecodableImage
from service.images.decode import DecodedImage, decode_image
from service.settings import Settings
from tests.conftest import DEFAULT_MODEL
from tests.service.http.helpers import PNG


class Clock:
    seconds = 100.0

    def complete(self, admission: Admission, images: int, seconds: float, *, refused: bool = False) -> None:
        for _ in range(images):
            with contextlib.suppress(KeyError), admission.image():
                self.seconds += seconds
                if refused:
                    raise KeyError


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


@pytest.mark.parametrize("refused", [False, True])
def test_the_measured_rate_gives_the_wait_for_an_answer_and_the_time_to_retry(clock: Clock, refused: bool) -> None:
    admission = Admission(max_images=2, max_bytes=10)
    with admission.image():  # so that work goes on
        clock.complete(admission, MEASURED, seconds=3.3, refused=refused)
        with pytest.raises(Overloaded, match=r"an answer would take 6\.6 s, more than the deadline"):
            admission.check_request(1, 6.5)  # its own image, and that in work
        admission.check_request(1, 6.7)
        with pytest.raises(Overloaded, match=r"an answer would take 16\.5 s"):
            admission.check_wait(4, 16)
        with admission.image(), pytest.raises(Overloaded) as rejection:
            admission.check_places()
    assert rejection.value.retry_after_seconds == 7  # two images of 3.3 s


def test_neither_idleness_nor_what_was_before_it_counts(clock: Clock) -> None:
    admission = Admission(max_images=60, max_bytes=10)
    with admission.image():
        clock.complete(admission, MEASURED, seconds=3)
    clock.seconds += 100
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(admission.image())
        admission.check_request(1, 0.1)


def test_one_slow_image_does_not_count_for_all(clock: Clock) -> None:
    admission = Admission(max_images=60, max_bytes=10)
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(admission.image())
        clock.complete(admission, 1, seconds=20)
        clock.complete(admission, MEASURED - 1, seconds=0.01)
        admission.check_request(1, 1)


@pytest.mark.anyio
async def test_a_call_that_outlives_its_request_on_an_idle_service_makes_no_one_wait(clock: Clock) -> None:
    admission = Admission(max_images=60, max_bytes=10)
    with admission.image():
        clock.complete(admission, MEASURED, seconds=0.01)
    clock.seconds += 1000
    release = admission.hold()
    clock.complete(admission, 1, seconds=1.5)
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            stack.enter_context(admission.image())
            admission.check_request(1, 5)
    release()
    await asyncio.sleep(0)
    assert admission.images == 0


@pytest.mark.parametrize("waiting", [0, 4])
@pytest.mark.anyio
async def test_a_decode_that_outlives_its_request_keeps_its_place_and_those_that_wait_free_theirs(waiting: int) -> None:
    engine = Engine.load(Settings(model=str(DEFAULT_MODEL), lanes=1))
    engine.decoders.open()
    has_begun, may_end = threading.Event(), threading.Event()

    def decode() -> DecodedImage:
        has_begun.set()
        may_end.wait()
        return decode_image(PNG)

    requests = [asyncio.create_task(engine.predict(decode)) for _ in range(1 + waiting)]
    await asyncio.to_thread(has_begun.wait)
    for request in requests:
        request.cancel()
    await asyncio.wait(requests)
    images = engine.admission.images
    may_end.set()
    assert images == 1
    while engine.admission.images:
        await asyncio.sleep(0.001)


@pytest.mark.anyio
async def test_what_a_refused_image_took_is_freed_at_once() -> None:
    engine = Engine.load(Settings(model=str(DEFAULT_MODEL), lanes=1))
    engine.decoders.open()
    pixels: list[weakref.ref[Image.Image]] = []

    def decode() -> DecodedImage:
        image = Image.new("L", (64, 64))
        pixels.append(weakref.ref(image))
        raise UndecodableImage("damaged")

    gc.disable()
    try:
        for _ in range(2):  # a thread lets go of one call as it takes the next
            with pytest.raises(UndecodableImage) as caught:
                await engine.predict(decode)
            del caught
        assert pixels[0]() is None
    finally:
        gc.enable()


@pytest.mark.anyio
async def test_no_number_of_slow_images_holds_the_decoders_of_quick_ones() -> None:
    engine, may_end = Engine.load(Settings(model=str(DEFAULT_MODEL), lanes=1)), threading.Event()

    def decode_slowly() -> DecodedImage:
        may_end.wait()
        return decode_image(PNG)

    async with engine.running():
        slow = [asyncio.create_task(engine.predict(lambda: decode_slowly)) for _ in range(5)]
        await asyncio.wait_for(engine.predict(lambda: decode_image(PNG)), 30)
        assert not any(task.done() for task in slow)
        may_end.set()
        assert len({(await task).prediction.label for task in slow}) == 1
