"""Images per second of a whole archive: on this machine and on Ray, with one and two workers, and what limits it.
make benchmark-archive [DATA=path/to/chest_xray]    writes tests/benchmarks/archive.json, prints the README's table; needs wrk
Reads a few files of each kind again and again, all kinds in turn; figures are medians of the rounds. The first third of a run
does not count, since threads, or processes of a cluster on this machine, start in it. Without DATA the files are drawings."""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from service import machine
from service.archive import files, local
from service.archive.entries import Entry
from service.engine.engine import Engine
from service.images.decode import decode_image
from service.model.artefact import Artefact, read_artefact
from service.model.classifier import Classifier
from service.model.variant import choose_variant
from service.settings import Settings
from tests.benchmarks import client, results
from tests.benchmarks.headlines import markdown
from tests.benchmarks.images import BIG, SMALL, drawings, encode
from tests.conftest import DEFAULT_MODEL, dicom_of, running_service

RESULT = Path(__file__).with_suffix(".json")
FILES, ROUNDS = 500, 3
SECONDS = 5  # of each turn, about
LEFT_OUT = 3  # the first third
ALONE, HERE, SERVICE = "decoding and inference alone, one thread", "1 process", "the service, eight connections"
MILLION = "hours for a million, on one CPU"

Predict = Callable[[Engine, dict[str, str], int], Generator[Entry, None, None]]


def main() -> None:
    parser = argparse.ArgumentParser("python -m tests.benchmarks.archive")
    parser.add_argument("--data", type=Path, help="a folder of chest X-rays, instead of drawings")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    arguments = parser.parse_args()
    os.environ["RAY_ADDRESS"] = "local"
    variant = choose_variant("auto", {"fp32", "int8"}, machine.int8_instructions()).variant
    model = read_artefact(DEFAULT_MODEL, variant)
    found: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        kinds = dict(write(Path(folder), arguments.data))
        for _ in range(arguments.rounds):
            for kind, paths in kinds.items():
                for what, rate in turn(model, paths):
                    found.setdefault(what, {}).setdefault(kind, []).append(rate)
    medians = {what: {kind: statistics.median(rates) for kind, rates in row.items()} for what, row in found.items()}
    spread = {what: {kind: [min(rates), max(rates)] for kind, rates in row.items()} for what, row in found.items()}
    run = {"variant": variant, "rounds": arguments.rounds, "drawn": arguments.data is None}
    print(table(results.record(RESULT, {**run, "images_per_second": medians, "spread": spread})))


def write(folder: Path, data: Path | None) -> Iterable[tuple[str, list[Path]]]:
    if data:
        paths = [Path(path) for path in files.find(str(data))[0].values()][:FILES]
        width, height = decode_image(paths[0].read_bytes()).size
        yield f"X-rays, JPEG {width} × {height}", paths
    for kind in (BIG,) if data else (SMALL, BIG):
        paths = [folder / f"{kind.size[0]}-{number}.jpeg" for number in range(20)]
        for path, drawing in zip(paths, drawings(20), strict=True):
            path.write_bytes(encode(drawing, kind))
        yield kind.name, paths
    levels = np.random.default_rng(0).normal(2000, 300, (2500, 2000)).astype(np.uint16)
    (folder / "radiograph.dcm").write_bytes(dicom_of(levels, BitsStored=12))
    yield "DICOM 2000 × 2500", [folder / "radiograph.dcm"]


def turn(model: Artefact, paths: list[Path]) -> Iterable[tuple[str, float]]:
    from service.archive import ray

    alone = one_by_one(model, paths)
    yield ALONE, alone
    for workers, name in ((1, HERE), (2, "2 processes")):
        yield name, entries_per_second(local.predict_files, model, paths, round(alone * SECONDS * workers), workers)
    for workers, name in ((1, "Ray, 1 worker"), (2, "Ray, 2 workers")):
        count = max(round(alone * SECONDS * workers), 6 * workers * ray.BLOCK)
        yield name, entries_per_second(ray.predict_files, model, paths, count, workers)
    with running_service(log_level="warning") as service:
        request = client.request(paths[0].name, paths[0].read_bytes(), "application/octet-stream")
        load = client.load(service.base_url.port or 0, request, connections=8, seconds=SECONDS)
        yield SERVICE, load.requests / load.seconds


def one_by_one(model: Artefact, paths: list[Path]) -> float:
    classifier, done, begin = Classifier(model), 0, time.perf_counter()
    while time.perf_counter() < begin + SECONDS:
        classifier.classify_each([decode_image(paths[done % len(paths)].read_bytes()).grey])
        done += 1
    return done / (time.perf_counter() - begin)


def entries_per_second(predict_files: Predict, model: Artefact, paths: list[Path], count: int, workers: int) -> float:
    files = {str(number): str(paths[number % len(paths)]) for number in range(count)}
    times = [time.perf_counter() for _ in predict_files(Engine(model, Settings()), files, workers)]
    first = next(index for index, at in enumerate(times) if index >= count / LEFT_OUT and at > times[index - 1] + 1e-3)
    return (count - first) / (times[-1] - times[first - 1])


def table(result: dict[str, Any]) -> str:  # Any: JSON
    rates = result["images_per_second"]
    kinds = list(rates[ALONE])
    rows = [[what, *(f"{row[kind]:.{0 if row[kind] >= 20 else 1}f}" for kind in kinds)] for what, row in rates.items()]
    hours = [f"{1e6 / rates[HERE][kind] / 3600:.1f}" for kind in kinds]
    return markdown([f"images/s on {result['cpus']} CPUs ({result['processor']})", *kinds], [*rows, [MILLION, *hours]])


if __name__ == "__main__":
    main()
