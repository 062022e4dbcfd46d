"""Lanes: threads that take whatever waits, up to a limit, and never wait for more.

Work-conserving: a free lane starts at once with what is there, so batches form under load alone, and nobody is held
back to fill one. It knows neither HTTP nor ONNX.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Generic, NamedTuple, TypeVar

from service.errors import NotReady, Overloaded

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Answer(NamedTuple, Generic[Result]):
    result: Result
    batch_size: int
    queue_ms: float  # from submission to the start of the run
    run_ms: float  # of the whole batch


class _Job(NamedTuple, Generic[Item, Result]):
    item: Item
    future: "Future[Answer[Result]]"
    submitted: float  # seconds, time.perf_counter


class Batcher(Generic[Item, Result]):
    """Runs `run(items) -> results` (equally long, in order) on `lanes` threads between `open` and `close`."""

    def __init__(
        self, run: Callable[[list[Item]], Sequence[Result]], *, lanes: int, max_batch_size: int, queue_limit: int
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._queue_limit = queue_limit
        self._admitted = 0
        self._seconds_per_item = 0.0  # moving average, of one lane
        self._queue: deque[_Job[Item, Result]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._lanes = [threading.Thread(target=self._work, name=f"lane-{lane}", daemon=True) for lane in range(lanes)]

    def open(self) -> None:
        for lane in self._lanes:
            lane.start()

    def close(self) -> None:
        """Answer all that was submitted, then end the lanes. Blocks until they have ended."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for lane in self._lanes:
            lane.join()

    @contextmanager
    def admit(self) -> Iterator[None]:
        """Hold one of `queue_limit` places, to be taken before a body is read. To be called from the event loop alone.

        Raises Overloaded: all places are taken.
        """
        if self._admitted >= self._queue_limit:
            seconds = self._admitted * self._seconds_per_item / len(self._lanes)
            raise Overloaded(f"{self._queue_limit} requests are in work, the most that are taken", max(1, math.ceil(seconds)))
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    async def submit(self, item: Item) -> Answer[Result]:
        """Wait for the result of `item`. A caller that gives up before a lane takes it costs no run.

        Raises NotReady: after `close`. Raises what `run` raised for this item alone.
        """
        job: _Job[Item, Result] = _Job(item, Future(), time.perf_counter())
        with self._changed:
            if self._closing:
                raise NotReady("the service is stopping")
            self._queue.append(job)
            self._changed.notify()
        return await asyncio.wrap_future(job.future)

    def _work(self) -> None:
        while jobs := self._take():
            self._answer(jobs)

    def _take(self) -> list[_Job[Item, Result]]:
        """Wait for work; empty once the queue is closed and drained."""
        with self._changed:
            jobs: list[_Job[Item, Result]] = []
            while not jobs:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return []
                while self._queue and len(jobs) < self._max_batch_size:
                    job = self._queue.popleft()
                    if job.future.set_running_or_notify_cancel():  # false: the caller has gone
                        jobs.append(job)
            return jobs

    def _answer(self, jobs: list[_Job[Item, Result]]) -> None:
        start = time.perf_counter()
        try:
            results = self._run([job.item for job in jobs])
            pairs = list(zip(jobs, results, strict=True))
        except Exception as error:
            if len(jobs) == 1:
                logger.exception("run_failed")
                jobs[0].future.set_exception(error)
                return
            logger.warning("batch_failed size=%d error=%r; running it one by one", len(jobs), error)
            for job in jobs:
                self._answer([job])
            return
        seconds = time.perf_counter() - start
        self._seconds_per_item += 0.1 * (seconds / len(jobs) - self._seconds_per_item)
        for job, result in pairs:
            job.future.set_result(Answer(result, len(jobs), 1000 * (start - job.submitted), 1000 * seconds))
