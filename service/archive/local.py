"""The engine of this machine: a process for each CPU, with a model of its own.

Threads would share one interpreter, whose lock is held for much of the decoding: two of them decode DICOM no faster than one.
"""

import math
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context, parent_process
from pathlib import Path

from service import machine
from service.archive.entries import Line, Reader
from service.errors import MedXferError
from service.model.artefact import Artefact

BLOCK = 16  # files that a process is given at once: a kill costs their work, a single one would cost more to hand over
AHEAD = 4  # blocks a process, so that a slow one does not hold up the others

_reader: Reader  # of a process of the pool


class WorkerLost(MedXferError):
    """A process of the pool was killed, or crashed."""


def here(artefact: Artefact, files: dict[str, str], workers: int | None) -> Generator[Line, None, None]:
    """In order. Raises ArtefactError: the model does not load; WorkerLost."""
    reader = Reader(artefact)
    workers = min(workers or machine.available_cpus(), math.ceil(len(files) / BLOCK))
    if workers > 1:
        yield from _by_pool(artefact, files, workers)
        return
    for name, path in files.items():
        yield reader.read(Path(path), name)


def _by_pool(artefact: Artefact, files: dict[str, str], workers: int) -> Iterator[Line]:
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _begin, (artefact,))
    waiting = deque[Future[list[Line]]]()
    remaining = iter(files.items())
    try:
        while block := list(islice(remaining, BLOCK)):
            with _uninterrupted():
                waiting.append(pool.submit(_read, block))
            if len(waiting) > AHEAD * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except (KeyboardInterrupt, GeneratorExit):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # it is ending; a second one would break that off, and wait for ever
        for process in list(pool._processes.values()):
            process.kill()  # what they have in work is not known yet, and is read again
        raise
    except BrokenProcessPool as error:
        raise WorkerLost("a worker was killed, for want of memory perhaps; the same command goes on from here") from error
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """By Ctrl-C, which comes right afterwards. A process that is started meanwhile never sees one: this one ends it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _begin(artefact: Artefact) -> None:
    global _reader
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _reader = Reader(artefact)


def _end_with_parent() -> None:
    """A pool's processes would outlive one that is killed."""
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _read(block: list[tuple[str, str]]) -> list[Line]:
    return [_reader.read(Path(path), name) for name, path in block]
