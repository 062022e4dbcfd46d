"""Admission control: bounds the work in flight in images and in bytes, and rejects requests that would miss their deadline.
Slow uploads do not use up the queue: a body counts by the bytes received so far, an image only once its body is complete."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import Overloaded

MEASURED, RECENT = 16, 4  # images


class Admission:
    """For the event loop's thread alone. Each rejection has `Retry-After`: seconds until the work in flight should be done."""

    def __init__(self, *, max_images: int, max_bytes: int) -> None:
        self.images = 0  # in flight: being decoded, waiting for a lane, or in one
        self.bytes = 0  # of bodies that are arriving or in work
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._ended: deque[float] = deque(maxlen=MEASURED)  # time.perf_counter of the last images, since there is work

    def check_request(self, size: int, seconds: float) -> None:
        """To be called before a body of at most `size` bytes is read, whose client waits for `seconds`. Raises Overloaded if
        there is no place for it, or if it would miss its deadline."""
        self.check_places()
        if self.bytes + size > self._max_bytes:
            raise self._overloaded(f"{self.bytes:,} bytes are in work; {size:,} more would exceed {self._max_bytes:,}")
        self.check_wait(1, seconds)

    def check_wait(self, images: int, seconds: float) -> None:
        """Raises Overloaded if so many further images would not be answered within `seconds`."""
        if (wait := (self.images + images) * self._seconds_per_image()) > seconds:
            raise self._overloaded(f"an answer would take {wait:.1f} s, more than the deadline")

    def check_places(self) -> None:
        """Raises Overloaded if as many images are in flight as are allowed."""
        if self.images >= self._max_images:
            raise self._overloaded(f"images in work: {self.images:,}, the most that are taken")

    @contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """Counts a body until its answer is made. Yields `add_bytes`, to be called for each chunk that arrives; it raises
        Overloaded if other bodies have used up the bytes since `check_request`."""
        received = 0

        def add_bytes(size: int) -> None:
            nonlocal received
            received += size
            self.bytes += size
            if self.bytes > self._max_bytes:
                raise self._overloaded(f"over {self._max_bytes:,} bytes are in work, the most that are taken")

        try:
            yield add_bytes
        finally:
            self.bytes -= received

    @contextmanager
    def image(self) -> Iterator[None]:
        """Holds the place of an image, from before it is decoded until it is answered. Raises Overloaded if other images took
        the last place while its body was read."""
        self.check_places()
        self.images += 1
        try:
            yield
        finally:
            self._ended.append(time.perf_counter())
            self._release()

    def hold(self) -> Callable[[], None]:
        """Holds one more place, while a thread still works for a cancelled request, since new images must wait for it. What it
        returns frees the place, from any thread."""
        loop = asyncio.get_running_loop()

        def release() -> None:
            loop.call_soon_threadsafe(self._release)

        self.images += 1
        return release

    def _release(self) -> None:
        self.images -= 1
        if not self.images:
            self._ended.clear()  # what comes after idleness says nothing about what came before

    def _seconds_per_image(self) -> float:
        """From one end to the next, of the last images, or of the very last where those went faster: a few slow images must not
        count for all. 0 until enough have ended, whether answered or refused."""
        if len(self._ended) < MEASURED:
            return 0.0
        last = self._ended[-1]
        return min((last - self._ended[0]) / (MEASURED - 1), (last - self._ended[-RECENT]) / (RECENT - 1))

    def _overloaded(self, reason: str) -> Overloaded:
        return Overloaded(reason, max(1, math.ceil(self.images * self._seconds_per_image())))
