"""What may come in: bounded in images and in bytes, and by whether an answer can be ready in time.

A body counts by what of it has arrived, an image from when it is there to be decoded: clients that send slowly take no
place from those that do not. For the event loop alone.
"""

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

from service.errors import Overloaded


class Admission:
    def __init__(self, *, max_images: int, max_bytes: int) -> None:
        self.images = 0  # in work: being decoded, waiting for a lane, or in one
        self.bytes = 0  # of bodies that are arriving or in work
        self._max_images = max_images
        self._max_bytes = max_bytes
        self._seconds_per_image = 0.0  # moving average of the time from one answer to the next, while there is work
        self._since = 0.0  # the last answer, or the start of work after none; time.perf_counter

    def check(self, size: int, seconds: float) -> None:
        """To be called before a body of `size` bytes is read, whose sender waits for `seconds`.

        Raises Overloaded: there is no place for it, or no answer in time.
        """
        self.check_places()
        if self.bytes + size > self._max_bytes:
            raise self._overloaded(f"{self.bytes:,} bytes are in work; with {size:,} more they were over {self._max_bytes:,}")
        if self._wait() > seconds:
            raise self._overloaded(f"an answer would take {self._wait():.1f} s, more than the deadline")

    def check_places(self) -> None:
        """Raises Overloaded: all are taken."""
        if self.images >= self._max_images:
            raise self._overloaded(f"images in work: {self.images:,}, the most that are taken")

    @contextmanager
    def body(self) -> Iterator[Callable[[int], None]]:
        """Until the answer is made. Yields what counts bytes as they arrive, and raises Overloaded if others have taken the
        room since `check`."""
        arrived = 0

        def note(size: int) -> None:
            nonlocal arrived
            arrived += size
            self.bytes += size
            if self.bytes > self._max_bytes:
                raise self._overloaded(f"over {self._max_bytes:,} bytes are in work, the most that are taken")

        try:
            yield note
        finally:
            self.bytes -= arrived

    @contextmanager
    def image(self) -> Iterator[None]:
        """Hold an image's place, from before it is decoded until it is answered.

        Raises Overloaded: others took the last place while its body was read.
        """
        self.check_places()
        if not self.images:
            self._since = time.perf_counter()
        self.images += 1
        try:
            yield
            self._measure()
        finally:
            self.images -= 1

    def hold_until_done(self, future: "Future[Any]") -> None:
        """Hold one more place while a thread works on for nobody: whoever comes meanwhile would wait for it."""
        loop = asyncio.get_running_loop()
        self.images += 1
        future.add_done_callback(lambda _: loop.call_soon_threadsafe(self._release))

    def _release(self) -> None:
        self.images -= 1

    def _measure(self) -> None:
        now = time.perf_counter()
        self._seconds_per_image += 0.1 * (now - self._since - self._seconds_per_image)
        self._since = now

    def _wait(self) -> float:
        """Seconds until what is in work now has been answered."""
        return self.images * self._seconds_per_image

    def _overloaded(self, reason: str) -> Overloaded:
        return Overloaded(reason, max(1, math.ceil(self._wait())))
