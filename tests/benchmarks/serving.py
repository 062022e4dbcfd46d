"""Measures our service and its peers in turn, with the same weights, images, CPUs and client. Needs Linux and wrk.
make benchmark        writes tests/benchmarks/serving.KIND.json, its picture and README.md; takes half an hour
KIND is amd, intel or other, by this machine. All servers run once in every round, so that other work on the machine affects all
alike. Environments and the second model are created once, in .benchmarks/."""

import argparse
import datetime
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from service.model.artefact import read_artefact, read_description
from service.model.classifier import Classifier
from tests.benchmarks import agreement, client, headlines, images, models, own, processes, report, results, servers
from tests.benchmarks.client import BENCHMARKS
from tests.benchmarks.images import BIG, KINDS, PNG, REAL, SMALL, Kind
from tests.benchmarks.results import Cell, Model, Own, Result, Start
from tests.benchmarks.servers import PEERS, SERVERS, Running, Server
from tests.conftest import DEFAULT_MODEL

LOADS = [(BIG, 8), (BIG, 1), (BIG, 32), (REAL, 8), (SMALL, 8), (PNG, 8)]  # image, connections
WARM_UP = [(BIG, 8), (SMALL, 1)]
WARM_UP_SECONDS, SAMPLE_SECONDS = 2, 0.5

Requests = dict[Kind, Path]


class Plan(NamedTuple):
    """`seconds`: of each load in each round. `growth`: after so many requests the memory is measured."""

    rounds: int
    seconds: float
    growth: tuple[int, int]


FULL = Plan(rounds=3, seconds=3, growth=(2_000, 20_000))
QUICK = Plan(rounds=1, seconds=2, growth=(20, 200))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=["default", "resnet18"], default=["resnet18", "default"])
    parser.add_argument("--quick", action="store_true", help="one round of two seconds, to see that everything runs")
    arguments = parser.parse_args()
    plan, folder = (QUICK, BENCHMARKS / "trial") if arguments.quick else (FULL, results.FOLDER)
    result = measure([DEFAULT_MODEL if name == "default" else models.resnet18() for name in arguments.models], plan)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / results.FILE.format(results.machine_kind())
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    report.write(results.read_all(folder), folder)
    print(f"{headlines.headlines(result)}\n\nwritten to {folder}")


def measure(folders: list[Path], plan: Plan) -> Result:
    requests = {kind: client.request(kind.name, images.first(kind), kind.content_type) for kind in KINDS}
    for model in folders:
        models.convert(model)
    agreed = [agree(model, requests[SMALL]) for model in folders]  # before anything is measured
    return Result(
        **results.measured_on(),
        instructions=results.instructions(),
        date=datetime.date.today().isoformat(),
        command=shlex.join(["python", "-m", "tests.benchmarks.serving", *sys.argv[1:]]),
        rounds=plan.rounds,
        seconds=plan.seconds,
        versions=versions(),
        models=[measure_model(model, found, requests, plan) for model, found in zip(folders, agreed, strict=True)],
    )


def versions() -> dict[str, dict[str, str]]:
    wrk = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout.split()[1]
    pins = {path.parent.name: path.read_text().splitlines() for path in sorted(PEERS.glob("*/requirements.txt"))}
    peers = {peer: dict(line.split("==") for line in lines if "==" in line) for peer, lines in pins.items()}
    return {"client": {"wrk": wrk}, **peers}


def agree(model: Path, first: Path) -> dict[str, float]:
    """The largest difference of a probability, by server. Raises RuntimeError if one is too large."""
    asked, found = agreement.questions(model), {}
    for server in SERVERS:
        with servers.running(server, model, first) as running:
            found[server.name] = agreement.check(server, running, model, asked)
        print(f"{model.name}: {server.name} agrees within {found[server.name]:.4f}", flush=True)
    return found


def measure_model(model: Path, agreed: dict[str, float], requests: Requests, plan: Plan) -> Model:
    starts: list[Start] = []
    cells: list[Cell] = []
    failures: list[str] = []
    for number in range(plan.rounds):
        for server in SERVERS:
            before = len(cells)
            with (
                noted(failures, f"round {number + 1}: {server.name}"),
                servers.running(server, model, requests[SMALL]) as running,
            ):
                starts.append(Start(server=server.name, seconds=running.start_seconds))
                for kind, connections in WARM_UP:
                    client.load(running.port, requests[kind], connections=connections, seconds=WARM_UP_SECONDS)
                for kind, connections in LOADS:
                    with noted(failures, f"round {number + 1}: {server.name}, {kind.name}, {connections} connections"):
                        cells.append(measure_cell(server, running, requests, kind, connections, plan.seconds))
            rates = " · ".join(f"{cell.requests_per_second:.0f}" for cell in cells[before:])
            print(f"{model.name}, round {number + 1}: {server.name}: {rates} requests/s", flush=True)
    return Model(
        name=model.name,
        backbone=read_description(model).backbone,
        servers={server.name: server.peer for server in SERVERS},
        agreement=agreed,
        starts=starts,
        cells=cells,
        failures=failures,
        own=measure_own(SERVERS[0], model, requests, plan),
    )


@contextmanager
def noted(failures: list[str], what: str) -> Iterator[None]:
    """Notes a failure of a peer, so that it costs that cell and not the run. One of ours ends the run."""
    try:
        yield
    except RuntimeError as error:
        if any(server.name in what for server in SERVERS if server.peer == servers.OURS):
            raise
        failures.append(f"{what}: {str(error)[:200]}")
        print(f"FAILED {failures[-1]}", flush=True)


def measure_cell(server: Server, running: Running, requests: Requests, kind: Kind, connections: int, seconds: float) -> Cell:
    before, samples = processes.cpu_seconds(running.pid), []
    with ThreadPoolExecutor(1) as pool:
        loading = pool.submit(client.load, running.port, requests[kind], connections=connections, seconds=seconds)
        while wait([loading], SAMPLE_SECONDS).not_done:
            samples.append(processes.memory(running.pid))
    load, (rss, pss) = loading.result(), map(max, zip(*samples, strict=True))
    cpu_ms = 1000 * (processes.cpu_seconds(running.pid) - before) / load.requests
    return Cell(server=server.name, image=kind.name, connections=connections, load=load, cpu_ms=cpu_ms, rss=rss, pss=pss)


def measure_own(server: Server, model: Path, requests: Requests, plan: Plan) -> Own:
    with servers.running(server, model, requests[SMALL]) as running:
        split, growth = own.split(running, requests[BIG]), own.growth(running, requests[SMALL], plan.growth)
        event_loop_ms = own.event_loop_ms(running, requests[SMALL], 2 * plan.seconds)
    classifier = Classifier(read_artefact(model, server.variant))
    classifier.warm_up(max(own.BATCH_SIZES))
    cpu_ms, lanes = own.work_cpu_ms(classifier), own.lanes(classifier, seconds=plan.seconds / 4)
    return Own(
        variant=server.variant,
        split=split,
        growth=growth,
        work_cpu_ms=cpu_ms,
        event_loop_ms=event_loop_ms,
        lanes=lanes,
        processes=own.in_processes(server, model, requests[BIG], 2 * plan.rounds, plan.seconds),
    )


if __name__ == "__main__":
    main()
