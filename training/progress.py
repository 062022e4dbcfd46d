"""Progress of a loop: a bar on a terminal, a line every half minute elsewhere (logs, CI). And no Ctrl-C is lost."""

import sys
import threading
from collections.abc import Iterable, Iterator
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

    def hook(ignored: "sys.UnraisableHookArgs") -> None:
        if issubclass(ignored.exc_type, KeyboardInterrupt):
            _interrupted.set()
        else:
            sys.__unraisablehook__(ignored)

    sys.unraisablehook = hook
