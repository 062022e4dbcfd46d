"""Predicts files on this machine: one process for each CPU, each with a model of its own.
Threads would share one interpreter, whose lock is held while decoding: two threads decode DICOM no faster than one."""

import math
import os
import signal
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context, parent_process

from service.archive.entries import Entry, predict_file
from service.engine.engine import Engine
from service.errors import ArchiveError
from service.model.artefact import Artefact
from service.settings import Settings

BLOCK = 16  # files sent to a process at once: a kill loses their work, but sending single files would cost more
AHEAD = 4  # blocks per process that wait: pool.map would queue all of them, 200 MB for a million files

_engine: Engine  # of a worker process


def predict_files(engine: Engine, files: dict[str, str], workers: int | None) -> Generator[Entry, None, None]:
    """Entries in the order of `files`. Raises ArchiveError if a worker process dies."""
    workers = min(workers or engine.cpus, math.ceil(len(files) / BLOCK))
    if workers <= 1:
        for name, path in files.items():
            yield predict_file(engine, name, path)
        return
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (engine.artefact, engine.settings))
    waiting = deque[Future[list[Entry]]]()
    remaining = iter(files.items())
    try:
        while block := list(islice(remaining, BLOCK)):
            # A Ctrl-C must not interrupt submit. The workers inherit that it is blocked, and this process ends them.
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                waiting.append(pool.submit(_predict_block, block))
            finally:
                signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            if len(waiting) > AHEAD * workers:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except (KeyboardInterrupt, GeneratorExit):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would interrupt the clean-up, which then waits for ever
        for process in list(pool._processes.values()):
            process.kill()  # their unfinished files are not in the journal, so the next run reads them
        raise
    except BrokenProcessPool as error:
        raise ArchiveError("a worker was killed, perhaps for lack of memory; the same command goes on from here") from error
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker(artefact: Artefact, settings: Settings) -> None:
    global _engine
    threading.Thread(target=_exit_with_parent, daemon=True).start()
    _engine = Engine(artefact, settings)


def _exit_with_parent() -> None:
    """Without this, workers would outlive a parent that is killed."""
    if parent := parent_process():
        parent.join()
        os._exit(1)


def _predict_block(block: list[tuple[str, str]]) -> list[Entry]:
    return [predict_file(_engine, name, path) for name, path in block]
