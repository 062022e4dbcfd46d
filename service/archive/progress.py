"""How far a run over an archive is: a bar on a terminal, a line now and then elsewhere. Refused files by name."""

import sys
import time
from collections.abc import Iterable, Iterator

from tqdm import tqdm

from service.archive.entries import Line

LINE_SECONDS = 30
MOST_NAMED = 20  # the results name them all


def shown(lines: Iterable[Line], *, before: int, total: int) -> Iterator[Line]:
    """The same lines. `before`: files that were answered in earlier runs."""
    refused, start = 0, time.monotonic()
    last = start
    with tqdm(total=total, initial=before, unit=" files", dynamic_ncols=True, disable=not sys.stderr.isatty()) as bar:
        for done, line in enumerate(lines, 1):
            yield line
            if line.row.problem:
                refused += 1
                bar.set_postfix_str(f"{refused:,} refused", refresh=False)
                _name(line, refused)
            bar.update()
            now = time.monotonic()
            if bar.disable and now - last >= LINE_SECONDS:
                last = now
                left = (now - start) / done * (total - before - done)
                _say(f"{before + done:,} of {total:,} files, {refused:,} refused, {left:.0f} s left")


def _name(line: Line, number: int) -> None:
    path = line.row.path if line.row.path.isprintable() else repr(line.row.path)
    if number <= MOST_NAMED:
        _say(f"{path}: {line.row.detail}")
    if number == MOST_NAMED:
        _say("further files that are refused are named in the results alone")


def _say(text: str) -> None:
    tqdm.write(text, file=sys.stderr)  # above the bar
