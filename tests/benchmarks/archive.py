"""How many images a second a whole archive is read at: here and on Ray, by one and two workers, beside what bounds it.

make benchmark-archive [DATA=path/to/chest_xray]    writes tests/benchmarks/archive.json, prints the README's table

Of each kind a few files again and again, in turn with the others; medians of some rounds. The first third of a run is left
out: it starts threads, or processes on a cluster of this machine. The service is asked for one of the files over eight
connections, by a client that shares its CPUs. Without DATA the small ones are drawn too.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from service import machine
from service.archive import files, local
from service.archive.entries import Line
from service.images.decode import decode_image
from service.model.artefact import Artefact, read_artefact
from service.model.classifier import Classifier
from service.model.variant import choose_variant
from tests.benchmarks.headlines import markdown
from tests.benchmarks.images import BIG, SMALL, drawings, encode
from tests.conftest import DEFAULT_MODEL, dicom_of, running_service
from training import run_folder

RESULT = Path(__file__).with_suffix(".json")
FILES, ROUNDS = 500, 3
SECONDS = 5  # of each turn, about
LEFT_OUT = 3  # the first third
ALONE, SERVICE = "decoding and inference alone, one thread", "the service, eight connections"
MILLION = "hours for a million, on one CPU"


class Kind(NamedTuple):
    name: str
    paths: list[Path]


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
        kinds = list(write(Path(folder), arguments.data))
        for _ in range(arguments.rounds):
            for kind in kinds:
                for what, rate in turn(model, kind):
                    found.setdefault(what, {}).setdefault(kind.name, []).append(rate)
    environment = run_folder.environment()
    result = {
        "processor": environment["processor"],
        "cpus": environment["cpus"],
        "variant": variant,
        "rounds": arguments.rounds,
        "drawn": arguments.data is None,
        "images_per_second": {
            what: {kind: statistics.median(rates) for kind, rates in row.items()} for what, row in found.items()
        },
        "spread": {what: {kind: [min(rates), max(rates)] for kind, rates in row.items()} for what, row in found.items()},
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))


def write(folder: Path, data: Path | None) -> Iterable[Kind]:
    if data:
        paths = [Path(path) for path in files.find(str(data)).values()][:FILES]
        width, height = decode_image(paths[0].read_bytes()).size
        yield Kind(f"X-rays, JPEG {width} × {height}", paths)
    for kind in (BIG,) if data else (SMALL, BIG):
        paths = []
        for number, drawing in enumerate(drawings(20, seed=0)):
            paths.append(folder / f"{kind.size[0]}-{number}.jpeg")
            paths[-1].write_bytes(encode(drawing, kind))
        yield Kind(kind.name, paths)
    radiograph = folder / "radiograph.dcm"
    levels = np.random.default_rng(0).normal(2000, 300, (2500, 2000)).astype(np.uint16)
    radiograph.write_bytes(dicom_of(levels, BitsStored=12))
    yield Kind("DICOM 2000 × 2500", [radiograph])


def turn(model: Artefact, kind: Kind) -> Iterable[tuple[str, float]]:
    """What was measured, and images a second."""
    from service.archive import ray

    alone = one_by_one(model, kind.paths, SECONDS)
    yield ALONE, alone
    for workers in (1, 2):
        count = round(alone * SECONDS * workers)
        yield here(workers), lines_a_second(local.here, model, kind.paths, count, workers)
    for workers in (1, 2):
        count = max(round(alone * SECONDS * workers), 6 * workers * ray.BLOCK)
        yield on_ray(workers), lines_a_second(ray.on_cluster, model, kind.paths, count, workers)
    yield SERVICE, requests_a_second(kind.paths[0])


def here(workers: int) -> str:
    return f"{workers} process{'es' * (workers > 1)}"


def on_ray(workers: int) -> str:
    return f"Ray, {workers} worker{'s' * (workers > 1)}"


def one_by_one(model: Artefact, paths: list[Path], seconds: float) -> float:
    classifier, done, begin = Classifier(model), 0, time.perf_counter()
    while time.perf_counter() < begin + seconds:
        classifier.classify_each([decode_image(paths[done % len(paths)].read_bytes()).grey])
        done += 1
    return done / (time.perf_counter() - begin)


def lines_a_second(
    engine: Callable[[Artefact, dict[str, str], int], Generator[Line, None, None]],
    model: Artefact,
    paths: list[Path],
    count: int,
    workers: int,
) -> float:
    files = {str(number): str(paths[number % len(paths)]) for number in range(count)}
    times = [time.perf_counter() for _ in engine(model, files, workers)]
    first = next(index for index, at in enumerate(times) if index >= count / LEFT_OUT and at > times[index - 1] + 1e-3)
    return (count - first) / (times[-1] - times[first - 1])


def requests_a_second(path: Path) -> float:
    with running_service(log_level="warning") as client:
        command = [sys.executable, "-m", "service", "bench", str(client.base_url), str(path), "--seconds", str(SECONDS)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    match = re.search(r"throughput +([\d.]+)", output)
    assert match, output
    return float(match[1])


def table(result: dict[str, Any]) -> str:
    rates = result["images_per_second"]
    kinds = list(rates[ALONE])
    rows = [[what, *(figure(row[kind]) for kind in kinds)] for what, row in rates.items()]
    hours = [f"{1e6 / rates[here(1)][kind] / 3600:.1f}" for kind in kinds]
    return markdown([f"images/s on {result['cpus']} CPUs ({result['processor']})", *kinds], [*rows, [MILLION, *hours]])


def figure(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 20 else f"{rate:.1f}"


if __name__ == "__main__":
    main()
