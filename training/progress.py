"""Progress of a loop: a bar on a terminal, a line every half minute elsewhere (logs, CI). And no Ctrl-C is lost."""

import signal
import sys
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")

LINE_SECONDS = 30
LINE = "{desc}: {n_fmt} of {total_fmt}, {remaining} left\n"

_interrupted = threading.Event()


def track(items: Iterable[T], what: str) -> Iterator[T]:
    """Yields `items`, which has a length, and shows how far it is."""
    if sys.stderr.isatty():
        bar = tqdm(items, what, leave=False, dynamic_ncols=True)
    else:
        bar = tqdm(items, what, leave=False, delay=LINE_SECONDS, mininterval=LINE_SECONDS, bar_format=LINE)
    for item in bar:
        if _interrupted.is_set():
            raise KeyboardInterrupt
        yield item


def catch_all_interrupts() -> None:
    """Python only prints a KeyboardInterrupt that is raised inside the callback of a weak reference, of which matplotlib has
    many. From now on the next step of `track` raises it again."""

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        _interrupted.set()
        raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a shell may have it ignored
        signal.signal(signal.SIGINT, interrupt)
        sys.unraisablehook = _print_all_but_interrupts


def _print_all_but_interrupts(ignored: "sys.UnraisableHookArgs") -> None:
    if not issubclass(ignored.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(ignored)
