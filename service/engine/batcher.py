"""Batching over lanes: threads that each take all waiting items, up to a limit, and run them as one batch.
It is work-conserving: a free lane starts at once with what waits. So batches form under load alone, and no item is held back to
fill one. It knows neither HTTP nor ONNX."""

import itertools
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

from service.engine.promise import Promise
from service.errors import NotReady

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


class Completed(NamedTuple, Generic[Result]):
    """`queue_ms` is the time from submission to the start of the run, `run_ms` that of the whole batch."""

    result: Result
    batch_size: int
    queue_ms: float
    run_ms: float


class _Job(NamedTuple, Generic[Item, Result]):
    item: Item
    promise: Promise[Completed[Result]]
    submitted: float  # seconds, time.perf_counter


class Batcher(Generic[Item, Result]):
    """Calls `run(items) -> results` on `lanes` threads between `open` and `close`. `results` are as many, in the same order."""

    def __init__(self, run: Callable[[list[Item]], Sequence[Result]], *, lanes: int, max_batch_size: int) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._queue: deque[_Job[Item, Result]] = deque()
        self._changed = threading.Condition()
        self._closing = False
        self._runs = {f"lane-{lane}": 0 for lane in range(lanes)}
        self._numbers = itertools.count(1)
        self._lanes = [threading.Thread(target=self._work, args=(lane,), name=lane, daemon=True) for lane in self._runs]

    def open(self) -> None:
        for lane in self._lanes:
            lane.start()

    def close(self) -> None:
        """Completes all submitted items, then ends the lanes. Blocks until they have ended."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for lane in self._lanes:
            lane.join()

    @property
    def waiting(self) -> int:
        """Items that no lane has taken, cancelled ones included."""
        return len(self._queue)

    def progress(self) -> dict[str, int]:
        """By lane, the number of the batch that it runs, or 0 while it waits."""
        return dict(self._runs)

    def submit(self, item: Item, promise: Promise[Completed[Result]]) -> None:
        """Queues `item`, from any thread. `promise` gets the result, or what `run` raises for this item alone. An item whose
        promise is cancelled before a lane takes it costs no run. Raises NotReady after `close`."""
        job: _Job[Item, Result] = _Job(item, promise, time.perf_counter())
        with self._changed:
            if self._closing:
                raise NotReady("the service is stopping")
            self._queue.append(job)
            self._changed.notify()

    def _work(self, lane: str) -> None:
        while jobs := self._take():
            self._runs[lane] = next(self._numbers)
            self._complete(jobs)
            self._runs[lane] = 0

    def _take(self) -> list[_Job[Item, Result]]:
        """Waits for items. Returns none once the queue is closed and drained."""
        with self._changed:
            jobs: list[_Job[Item, Result]] = []
            while not jobs:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if not self._queue:
                    return []
                while self._queue and len(jobs) < self._max_batch_size:
                    job = self._queue.popleft()
                    if job.promise.is_wanted:
                        jobs.append(job)
            return jobs

    def _complete(self, jobs: list[_Job[Item, Result]]) -> None:
        start = time.perf_counter()
        try:
            results = self._run([job.item for job in jobs])
            pairs = list(zip(jobs, results, strict=True))
        except Exception as error:
            if len(jobs) == 1:
                logger.exception("run failed")
                jobs[0].promise.break_by(error)
                return
            logger.warning("batch failed; running it one by one", extra={"size": len(jobs), "error": repr(error)})
            for job in jobs:
                self._complete([job])
            return
        seconds = time.perf_counter() - start
        for job, result in pairs:
            job.promise.keep(Completed(result, len(jobs), 1000 * (start - job.submitted), 1000 * seconds))
