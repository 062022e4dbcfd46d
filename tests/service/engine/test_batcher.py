import asyncio
import threading
from collections.abc import Iterator

import pytest

from service.engine.batcher import Batcher, Completed
from service.engine.promise import Promise
from service.errors import NotReady

pytestmark = pytest.mark.anyio

Jobs = list["asyncio.Task[Completed[int]]"]


class Doubler:
    """Doubles numbers, records its batches, fails for 13, and holds each batch back while `may_go` is not set."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go = threading.Event()
        self.entered = threading.Semaphore(0)

    def __call__(self, items: list[int]) -> list[int]:
        self.batches.append(items)
        self.entered.release()
        self.may_go.wait()
        if 13 in items:
            raise ValueError("unlucky")
        return [2 * item for item in items]

    async def results(self, jobs: Jobs) -> list[int | str]:
        """What becomes of the jobs once the batches may go. An error is given as text."""
        self.may_go.set()
        done = await asyncio.gather(*jobs, return_exceptions=True)
        return [each.result if isinstance(each, Completed) else str(each) for each in done]


@pytest.fixture
def run() -> Doubler:
    return Doubler()


@pytest.fixture
def batcher(run: Doubler, request: pytest.FixtureRequest) -> Iterator[Batcher[int, int]]:
    """One lane with batches of at most four, or as many lanes as a test asks for."""
    batcher = Batcher(run, lanes=getattr(request, "param", 1), max_batch_size=4)
    batcher.open()
    yield batcher
    run.may_go.set()
    batcher.close()


async def ask(batcher: Batcher[int, int], item: int) -> Completed[int]:
    promise: Promise[Completed[int]] = Promise()
    batcher.submit(item, promise)
    return await promise


async def hold_back(run: Doubler, batcher: Batcher[int, int], *items: int) -> Jobs:
    """Submits `items` in this order while a lane holds the first of them back."""
    run.may_go.clear()
    first = asyncio.create_task(ask(batcher, items[0]))
    await asyncio.to_thread(run.entered.acquire)
    others = [asyncio.create_task(ask(batcher, item)) for item in items[1:]]
    await asyncio.sleep(0)  # so that they are queued
    return [first, *others]


@pytest.mark.parametrize("batcher", [3], indirect=True)
async def test_lanes_run_at_the_same_time_and_each_caller_gets_its_own_result(run: Doubler, batcher: Batcher[int, int]) -> None:
    jobs = await hold_back(run, batcher, *range(100, 300))
    assert await asyncio.to_thread(run.entered.acquire, timeout=60)  # the second begins before the first may end
    assert await run.results(jobs) == [2 * item for item in range(100, 300)]


async def test_a_free_lane_takes_waiting_items_up_to_the_limit(run: Doubler, batcher: Batcher[int, int]) -> None:
    await run.results(await hold_back(run, batcher, *range(7)))
    assert run.batches == [[0], [1, 2, 3, 4], [5, 6]]


async def test_one_bad_item_fails_alone(run: Doubler, batcher: Batcher[int, int]) -> None:
    assert await run.results(await hold_back(run, batcher, 0, 1, 13, 2)) == [0, 2, "unlucky", 4]


async def test_a_wrong_number_of_results_ends_no_lane() -> None:
    batcher: Batcher[int, int] = Batcher(lambda items: [], lanes=1, max_batch_size=4)
    batcher.open()
    for _ in range(3):
        with pytest.raises(ValueError, match="shorter"):
            await ask(batcher, 1)
    batcher.close()


async def test_a_cancelled_item_costs_no_run(run: Doubler, batcher: Batcher[int, int]) -> None:
    first, cancelled = await hold_back(run, batcher, 0, 1)
    cancelled.cancel()
    await asyncio.wait([cancelled])
    await run.results([first])
    assert run.batches == [[0]]


async def test_waiting_items_and_the_progress_of_a_lane_are_visible(run: Doubler, batcher: Batcher[int, int]) -> None:
    numbers = [batcher.progress()["lane-0"]]
    for _ in range(2):
        jobs = await hold_back(run, batcher, 0, 1, 2)
        numbers.append(batcher.progress()["lane-0"])
        assert batcher.waiting == 2
        await run.results(jobs)
        await asyncio.to_thread(run.entered.acquire)  # of the second batch
        assert batcher.waiting == 0
    assert 0 == numbers[0] < numbers[1] < numbers[2]


async def test_closing_completes_submitted_items_and_rejects_new_ones(run: Doubler, batcher: Batcher[int, int]) -> None:
    jobs = await hold_back(run, batcher, *range(5))
    closing = asyncio.create_task(asyncio.to_thread(batcher.close))
    await asyncio.sleep(0.05)
    with pytest.raises(NotReady):
        await asyncio.wait_for(ask(batcher, 9), 10)
    assert await run.results(jobs) == [0, 2, 4, 6, 8]
    await closing
