"""Whole archives: every image that a folder or a glob names, on this machine or on a Ray cluster. `--help` says how."""

import os
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from service import machine
from service.archive import formats, local, progress
from service.archive.entries import Line, Row
from service.archive.files import check_root, find, written
from service.archive.journal import Header, Known, Part
from service.errors import MedXferError
from service.model.artefact import Artefact, read_artefact, read_description
from service.model.prediction import DISCLAIMER
from service.model.variant import choose_variant
from service.settings import read_settings

Files: TypeAlias = dict[str, str]  # where each is, by what results call it
Engine: TypeAlias = Callable[[Artefact, Files, int | None], Generator[Line, None, None]]


class EngineMissing(MedXferError):
    """It is not installed."""


def run(images: str, out: Path, *, engine: str, workers: int | None) -> int:
    """The exit code. Raises MedXferError: it cannot begin, or not go on."""
    formats.check(out)
    answer = _engine(engine)
    artefact, header = _model(images)
    paths = find(images)
    with closing(Part(out.with_name(out.name + ".part"), header)) as part:
        left = _left(paths, part.known())
        before = len(paths) - len(left)
        print(f"{len(paths):,} files, {before:,} answered before; model {header.model}, variant {header.variant}\n{DISCLAIMER}")
        start = time.monotonic()
        with closing(answer(artefact, left, workers)) as lines:
            for line in progress.shown(lines, before=before, total=len(paths)):
                part.add(line)
        check_root(images)  # else a share that went away would make a result of files that cannot be read
        rate = len(left) / (time.monotonic() - start)
        problems = Counter[str]()
        formats.write(out, _counted(part.rows(paths), problems), artefact.description.labels)
        part.remove()
    print(f"{out}: {len(paths):,} rows, {problems.total():,} of them refused; {rate:.1f} images/s")
    for problem, count in problems.most_common():
        print(f"  {count:,} × {problem}")
    return int(problems.total() > 0)


def _engine(name: str) -> Engine:
    if name == "local":
        return local.here
    try:
        from service.archive import ray
    except ImportError as error:
        raise EngineMissing(f"--engine ray: {error}: pip install 'ray[data]>=2.60'") from error
    return ray.on_cluster


def _model(images: str) -> tuple[Artefact, Header]:
    """As the service would choose it, and what a run with it begins with."""
    settings = read_settings(os.environ)
    description = read_description(Path(settings.model))
    choice = choose_variant(settings.variant, description.variants, machine.int8_instructions())
    artefact = read_artefact(Path(settings.model), choice.variant)
    header = Header(
        images=written(str(Path(images).absolute())),
        model=description.name,
        variant=choice.variant,
        sha256=artefact.sha256,
        description_sha256=artefact.description_sha256,
    )
    return artefact, header


def _left(files: Files, known: dict[str, Known]) -> Files:
    """Those that nothing is known of, or that have changed since."""
    return {name: path for name, path in files.items() if name not in known or not _is_as(known[name], Path(path))}


def _is_as(known: Known, path: Path) -> bool:
    try:
        facts = path.stat()
    except OSError:
        return False
    return (known.bytes, known.mtime_ns) == (facts.st_size, facts.st_mtime_ns)


def _counted(rows: Iterable[Row], problems: Counter[str]) -> Iterator[Row]:
    for row in rows:
        if row.problem:
            problems[row.problem] += 1
        yield row
