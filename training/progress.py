"""How far a loop is: a bar with the time left on a terminal, a plain line every half minute elsewhere (logs, CI)."""

import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from types import FrameType
from typing import Protocol, TypeVar

from tqdm import tqdm

LINE_SECONDS = 30

T = TypeVar("T", covariant=True)


_interrupted = threading.Event()


class SizedIterable(Sized, Iterable[T], Protocol[T]): ...


def obey_interrupts() -> None:
    """So that no Ctrl-C is lost: one that comes inside the callback of a weak reference, as matplotlib has many, Python only
    prints. The next turn of a loop raises it again instead."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        _interrupted.set()
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, interrupt)
        sys.unraisablehook = _print_all_but_interrupts


def _print_all_but_interrupts(ignored: "sys.UnraisableHookArgs") -> None:
    if not issubclass(ignored.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)


def track(items: SizedIterable[T], what: str) -> Iterator[T]:
    for item in _shown(items, what):
        if _interrupted.is_set():
            raise KeyboardInterrupt
        yield item


def _shown(items: SizedIterable[T], what: str) -> Iterator[T]:
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
