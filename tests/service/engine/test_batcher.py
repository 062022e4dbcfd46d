import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from service.engine.batcher import Batcher
from service.errors import NotReady


class Doubler:
    """Doubles; remembers the batches; can be held back, and fails for the item 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.go = threading.Event()
        self.go.set()
        self.entered = threading.Semaphore(0)

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.entered.release()
        self.go.wait()
        if 13 in items:
            raise ValueError("unlucky")
        return [2 * item for item in items]


@contextmanager
def opened(run: Doubler, lanes: int = 1, max_batch_size: int = 4) -> Iterator[Batcher[int, int]]:
    batcher = Batcher(run, lanes=lanes, max_batch_size=max_batch_size)
    batcher.open()
    try:
        yield batcher
    finally:
        run.go.set()
        batcher.close()


async def _entered(run: Doubler) -> None:
    await asyncio.to_thread(run.entered.acquire)


def test_each_caller_gets_its_own_answer() -> None:
    async def scenario() -> list[int]:
        with opened(Doubler(), lanes=3) as batcher:
            answers = await asyncio.gather(*(batcher.submit(item) for item in range(200) if item != 13))
            return [answer.result for answer in answers]

    assert asyncio.run(scenario()) == [2 * item for item in range(200) if item != 13]


def test_a_lone_item_does_not_wait_for_others() -> None:
    async def scenario() -> int:
        with opened(Doubler(), max_batch_size=4) as batcher:
            return (await asyncio.wait_for(batcher.submit(1), 10)).batch_size

    assert asyncio.run(scenario()) == 1


def test_a_free_lane_takes_what_waits_up_to_the_limit() -> None:
    run = Doubler()

    async def scenario() -> None:
        with opened(run, max_batch_size=4) as batcher:
            run.go.clear()
            first = asyncio.ensure_future(batcher.submit(0))
            await _entered(run)
            others = [asyncio.ensure_future(batcher.submit(item)) for item in range(1, 7)]
            await asyncio.sleep(0)
            run.go.set()
            await asyncio.gather(first, *others)

    asyncio.run(scenario())
    assert run.batches == [[0], [1, 2, 3, 4], [5, 6]]


def test_lanes_run_at_the_same_time() -> None:
    run = Doubler()

    async def scenario() -> None:
        with opened(run, lanes=2, max_batch_size=1) as batcher:
            run.go.clear()
            jobs = [asyncio.ensure_future(batcher.submit(item)) for item in (1, 2)]
            await _entered(run)
            await _entered(run)  # both are inside before either may leave
            run.go.set()
            await asyncio.gather(*jobs)

    asyncio.run(asyncio.wait_for(scenario(), 10))


def test_one_bad_item_fails_alone() -> None:
    run = Doubler()

    async def scenario() -> list[object]:
        with opened(run) as batcher:
            run.go.clear()
            first = asyncio.ensure_future(batcher.submit(0))
            await _entered(run)
            others = [asyncio.ensure_future(batcher.submit(item)) for item in (1, 13, 2)]
            await asyncio.sleep(0)
            run.go.set()
            answers = await asyncio.gather(first, *others, return_exceptions=True)
            return [answer if isinstance(answer, BaseException) else answer.result for answer in answers]

    zero, one, unlucky, two = asyncio.run(scenario())
    assert (zero, one, two) == (0, 2, 4)
    assert isinstance(unlucky, ValueError)


def test_a_wrong_number_of_results_ends_no_lane() -> None:
    async def scenario() -> None:
        batcher: Batcher[int, int] = Batcher(lambda items: [], lanes=1, max_batch_size=4)
        batcher.open()
        for _ in range(3):
            with pytest.raises(ValueError, match="shorter"):
                await asyncio.wait_for(batcher.submit(1), 10)
        batcher.close()

    asyncio.run(scenario())


def test_a_cancelled_caller_costs_no_run() -> None:
    run = Doubler()

    async def scenario() -> None:
        with opened(run) as batcher:
            run.go.clear()
            first = asyncio.ensure_future(batcher.submit(0))
            await _entered(run)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(batcher.submit(1), 0.01)
            run.go.set()
            await first

    asyncio.run(scenario())
    assert run.batches == [[0]]


def test_what_waits_and_what_runs_can_be_seen() -> None:
    run = Doubler()

    async def scenario() -> None:
        with opened(run, max_batch_size=1) as batcher:
            assert batcher.progress() == {"lane-0": 0}
            run.go.clear()
            jobs = [asyncio.ensure_future(batcher.submit(item)) for item in (0, 1, 2)]
            await _entered(run)
            first = batcher.progress()["lane-0"]
            assert first
            assert batcher.waiting == 2
            run.go.set()
            await asyncio.gather(*jobs)
            assert batcher.waiting == 0
            run.go.clear()
            job = asyncio.ensure_future(batcher.submit(3))
            for _ in range(3):
                await _entered(run)
            assert batcher.progress()["lane-0"] > first
            run.go.set()
            await job

    asyncio.run(scenario())


def test_closing_answers_what_was_accepted_and_refuses_the_rest() -> None:
    run = Doubler()

    async def scenario() -> list[int]:
        with opened(run, max_batch_size=2) as batcher:
            run.go.clear()
            jobs = [asyncio.ensure_future(batcher.submit(item)) for item in range(5)]
            await _entered(run)
            closing = asyncio.ensure_future(asyncio.to_thread(batcher.close))
            await asyncio.sleep(0.05)
            with pytest.raises(NotReady):
                await asyncio.wait_for(batcher.submit(9), 10)
            run.go.set()
            await closing
            return [answer.result for answer in await asyncio.gather(*jobs)]

    assert asyncio.run(scenario()) == [0, 2, 4, 6, 8]
