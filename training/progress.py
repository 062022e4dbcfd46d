"""How far a loop is: a bar with the time left on a terminal, a plain line every half minute elsewhere (logs, CI)."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Protocol, TypeVar

from tqdm import tqdm

LINE_SECONDS = 30

T = TypeVar("T", covariant=True)


class SizedIterable(Sized, Iterable[T], Protocol[T]): ...


def track(items: SizedIterable[T], what: str) -> Iterator[T]:
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, leave=False, dynamic_ncols=True)
        return
    total, start, last = len(items), time.monotonic(), time.monotonic()
    for done, item in enumerate(items):
        now = time.monotonic()
        if done and now - last >= LINE_SECONDS:
            last = now
            left = (now - start) / done * (total - done)
            print(f"{what}: {done} of {total}, {left:.0f} s left", file=sys.stderr, flush=True)
        yield item
