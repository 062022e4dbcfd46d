"""Threads that decode images, and hand each on from there, without a detour over the event loop."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Generic, TypeAlias, TypeVar

from service.engine.promise import Promise
from service.images.decode import DecodedImage

T = TypeVar("T")
# May return a function in place of the image: that one is called in a thread for slow images.
Decode: TypeAlias = Callable[[], DecodedImage | Callable[[], DecodedImage]]
Release: TypeAlias = Callable[[], None]
Calls: TypeAlias = "SimpleQueue[Callable[[], None] | None]"


class Decoders:
    """So many threads, which fill the time that the lanes leave. Images that take long have as many others, so that no number
    of them keeps a quick one waiting. `hold` is called where a caller is cancelled while its call runs; the thread calls what
    that returns at the end of the call."""

    def __init__(self, threads: int, hold: Callable[[], Release]) -> None:
        self._quick: Calls = SimpleQueue()
        self._slow: Calls = SimpleQueue()
        self._hold = hold
        self._threads = [
            threading.Thread(target=_work, args=(calls,), name=f"{name}-{number}", daemon=True)
            for name, calls in (("decoder", self._quick), ("slow-decoder", self._slow))
            for number in range(threads)
        ]

    def open(self) -> None:
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Lets each thread end after the calls that wait. Does not wait for them: nobody needs what they decode."""
        for calls in (self._quick, self._slow):
            for _ in self._threads:
                calls.put(None)

    async def call(self, function: Callable[[], T]) -> T:
        """Calls `function` in a thread for quick images."""
        promise: Promise[T] = Promise()
        return await self._wait(_Call(function, promise.keep, promise, self._slow))

    async def hand_on(self, decode: Decode, take: Callable[[DecodedImage, Promise[T]], None]) -> T:
        """Decodes an image, calls `take(image, promise)` in the same thread, and waits for the promise. Raises what either
        raises."""
        promise: Promise[T] = Promise()
        return await self._wait(_Call(decode, lambda image: take(image, promise), promise, self._slow))

    async def _wait(self, call: "_Call[T]") -> T:
        self._quick.put(call.run)
        try:
            return await call.promise
        except asyncio.CancelledError:
            call.abandon(self._hold)
            raise


class _Call(Generic[T]):
    """`take` gets the result of `function`; or, if that is a function too, the result of it, called by the queue `slow`."""

    def __init__(self, function: Callable[[], Any], take: Callable[[Any], None], promise: Promise[T], slow: Calls) -> None:
        self.promise = promise
        self._function: Callable[[], Any] | None = function  # Any: whatever `take` takes
        self._take = take
        self._slow = slow
        self._lock = threading.Lock()
        self._is_running = False
        self._at_end: Release | None = None

    def run(self) -> None:
        with self._lock:
            self._is_running, function = True, self._function
        following = None
        try:
            result = function() if function else None
            if callable(result):
                following = result
            elif self._function:  # none once it was abandoned
                self._take(result)
        except Exception as error:
            self.promise.break_by(error)
        with self._lock:
            self._is_running, self._function = False, following if self._function else None
            goes_on, release = self._function, self._at_end
        if goes_on:
            self._slow.put(self.run)
        elif release:
            release()

    def abandon(self, hold: Callable[[], Release]) -> None:
        """A call that waits lets go of its function, and so of the request's body. One that runs cannot be stopped."""
        with self._lock:
            self._function = None
            if self._is_running:
                self._at_end = hold()


def _work(calls: Calls) -> None:
    while call := calls.get():
        call()
