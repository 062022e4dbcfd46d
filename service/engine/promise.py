"""What a thread owes to a coroutine. It costs half the time of a `concurrent.futures.Future` wrapped for asyncio, and the event
loop makes one for every image."""

import asyncio
import contextlib
from collections.abc import Generator
from typing import Any, Generic, TypeVar

Result = TypeVar("Result")


class Promise(Generic[Result]):
    """Made, awaited and cancelled in the event loop's thread; kept or broken in any other."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[Result] | None = self._loop.create_future()

    def __await__(self) -> Generator[Any, None, Result]:  # Any: as asyncio has it
        assert self._future  # it is awaited once
        try:
            return (yield from self._future)
        finally:
            self._future = None  # an error holds the frames that it passed, and they this promise with the request's body

    @property
    def is_wanted(self) -> bool:
        """False once the coroutine that awaits it was cancelled."""
        return bool(self._future and not self._future.cancelled())

    def keep(self, result: Result) -> None:
        self._call(result, None)

    def break_by(self, error: Exception) -> None:
        self._call(None, error)

    def _call(self, result: Result | None, error: Exception | None) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop has ended, and nobody waits any more
            self._loop.call_soon_threadsafe(self._settle, result, error)

    def _settle(self, result: Any, error: Exception | None) -> None:  # Any: None beside an error
        if not self._future or self._future.done():
            return
        if error:
            self._future.set_exception(error)
        else:
            self._future.set_result(result)
