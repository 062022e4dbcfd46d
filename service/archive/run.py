"""Predicts every image of a folder or glob, on this machine or on a Ray cluster, and writes one file of results."""

import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeAlias

import msgspec
from tqdm import tqdm

from service.archive import files, formats, local
from service.archive.entries import Entry
from service.archive.journal import open_journal
from service.engine.engine import Engine
from service.errors import ArchiveError
from service.model.prediction import DISCLAIMER
from service.settings import read_settings

MAX_NAMED = 20  # refused files; the results name all of them
LINE_SECONDS = 30

PredictFiles: TypeAlias = Callable[[Engine, dict[str, str], int | None], Generator[Entry, None, None]]


def run(images: str, out: Path, *, engine: str, workers: int | None) -> int:
    """Returns the exit code: 1 if a file was refused, otherwise 0. Raises MedXferError if the run cannot begin or go on."""
    formats.check(out)
    predict_files = _predict_files(engine)
    settings = msgspec.structs.replace(read_settings(os.environ), token="")  # they travel to workers, which need no secret
    model = Engine.load(settings)
    root, (paths, passed_over) = files.find_root(images), files.find(images)
    header = {
        "format": "2",  # of the entries
        "images": files.utf8_name(str(Path(images).absolute())),
        "model": model.artefact.description.name,
        "variant": model.artefact.variant,
        "sha256": model.artefact.sha256,
        "description_sha256": model.artefact.description_sha256,  # of model.json, which holds the thresholds
    }
    with open_journal(out.with_name(out.name + ".part"), header) as journal:
        remaining = {name: path for name, path in paths.items() if not journal.has(name, path)}
        finished = len(paths) - len(remaining)
        print(f"{len(paths):,} files, {finished:,} answered before; model {header['model']}, variant {header['variant']}")
        print(DISCLAIMER)
        start = time.monotonic()
        with closing(predict_files(model, remaining, workers)) as entries:
            for entry in _show_progress(entries, finished, len(paths)):
                journal.add(entry)
        if not root.exists():  # a share that went away must not give results in which no file can be read
            raise ArchiveError(f"{root}: has gone meanwhile; once it is back, the same command goes on")
        rate = len(remaining) / (time.monotonic() - start)
        formats.write(out, journal.entries(paths), model.artefact.description.labels)
        problems = Counter(entry.problem for entry in journal.entries(paths) if entry.problem)
        journal.path.unlink()
    print(f"{out}: {len(paths):,} rows, {problems.total():,} of them refused; {rate:.1f} images/s")
    for problem, count in problems.most_common():
        print(f"  {count:,} × {problem}")
    if passed_over:
        print(files.passed(passed_over).removeprefix("; "))
    return int(problems.total() > 0)


def _predict_files(engine: str) -> PredictFiles:
    if engine == "local":
        return local.predict_files
    try:
        from service.archive import ray
    except ImportError as error:
        raise ArchiveError(f"--engine ray: {error}: pip install 'ray[data]>=2.60'") from error
    return ray.predict_files


def _show_progress(entries: Iterable[Entry], finished: int, total: int) -> Iterator[Entry]:
    """Yields the entries. Shows a bar on a terminal, otherwise a line now and then, and names refused files."""

    show = partial(tqdm.write, file=sys.stderr)  # above the bar
    refused, start = 0, time.monotonic()
    next_line = start + LINE_SECONDS
    with tqdm(total=total, initial=finished, unit=" files", dynamic_ncols=True, disable=not sys.stderr.isatty()) as bar:
        for count, entry in enumerate(entries, 1):
            yield entry
            if entry.problem:
                refused += 1
                bar.set_postfix_str(f"{refused:,} refused", refresh=False)
                if refused <= MAX_NAMED:
                    show(f"{entry.path if entry.path.isprintable() else repr(entry.path)}: {entry.detail}")
                if refused == MAX_NAMED:
                    show("further refused files are named only in the results")
            bar.update()
            now = time.monotonic()
            if bar.disable and now >= next_line:
                next_line = now + LINE_SECONDS
                seconds = (now - start) / count * (total - finished - count)
                show(f"{finished + count:,} of {total:,} files, {refused:,} refused, {seconds:.0f} s left")
