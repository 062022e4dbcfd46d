"""Measures our service and its peers in turn, with the same weights, images, CPUs and client. Needs Linux and wrk.

make benchmark        writes tests/benchmarks/serving.json, README.md and serving.png; takes half an hour

In every round each server is started, warmed up, and measured under each load. Then the next round begins, so that other work
on the machine affects all servers alike. Environments and the second model are created once, in .benchmarks/.
"""

import argparse
import datetime
import hashlib
import shlex
import sys
from pathlib import Path
from typing import NamedTuple

from service import machine
from service.model.artefact import SUMS, read_description
from tests.benchmarks import (
    agreement,
    client,
    conversion,
    engines,
    environments,
    headlines,
    lanes,
    own,
    processes,
    report,
    resnet18,
    results,
    servers,
)
from tests.benchmarks.environments import BENCHMARKS, PEERS, BenchmarkError
from tests.benchmarks.images import BIG, KINDS, PNG, SMALL, Kind, drawings, encode
from tests.benchmarks.results import Cell, Model, Own, Result, Start
from tests.benchmarks.servers import Running, Server
from tests.conftest import DEFAULT_MODEL
from training import run_folder

LOADS = [(BIG, 8), (BIG, 1), (BIG, 32), (SMALL, 8), (PNG, 8)]  # image, connections
WARM_UP_SECONDS = 2
TRIAL = BENCHMARKS / "trial"  # results of partial runs

Requests = dict[Kind, Path]


class Plan(NamedTuple):
    """`only`: a part of the servers' names. Empty: all servers."""

    rounds: int
    seconds: float
    only: str


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of each load in each round")
    parser.add_argument("--models", nargs="+", choices=["default", "resnet18"], default=["resnet18", "default"])
    parser.add_argument("--only", default="", metavar="NAME", help="only servers whose names contain this")
    parser.add_argument("--quick", action="store_true", help="one round of two seconds, to see that everything runs")
    arguments = parser.parse_args()
    plan = Plan(1, 2, arguments.only) if arguments.quick else Plan(arguments.rounds, arguments.seconds, arguments.only)
    try:
        models = [DEFAULT_MODEL if name == "default" else resnet18.model() for name in arguments.models]
        result = measure(models, plan)
    except BenchmarkError as error:
        print(f"benchmark: {error}", file=sys.stderr)
        return 1
    folder = TRIAL if arguments.quick or arguments.only else results.FOLDER
    results.write(result, folder)
    report.write(result, folder)
    print(f"{headlines.headlines(result)}\n\nwritten to {folder}")
    return 0


def measure(models: list[Path], plan: Plan) -> Result:
    requests = {kind: client.request(kind.name, encode(next(drawings(1, seed=0)), kind), kind.content_type) for kind in KINDS}
    peers = {path.name: environments.versions(path.name) for path in sorted(PEERS.iterdir())}
    versions = {"client": {"wrk": client.version()}, **peers}
    for model in models:
        convert(model)
    agreed = {model: agree(model, requests[SMALL], plan) for model in models}  # before anything is measured
    return Result(
        processor=str(run_folder.environment()["processor"]),
        cpus=machine.available_cpus(),
        date=datetime.date.today().isoformat(),
        command=shlex.join(["python", "-m", "tests.benchmarks.serving", *sys.argv[1:]]),
        rounds=plan.rounds,
        seconds=plan.seconds,
        versions=versions,
        models=[measure_model(model, agreed[model], requests, plan) for model in models],
    )


def convert(model: Path) -> None:
    """Writes the peers' files, if the model or its conversion has changed."""
    digest = hashlib.sha256((model / SUMS).read_bytes() + Path(conversion.__file__).read_bytes()).hexdigest()
    made_of = servers.work_folder(model) / "made_of"
    if not made_of.exists() or made_of.read_text() != digest:
        print(f"{model.name}: converting for PyTorch and OpenVINO …", flush=True)
        conversion.write(model, made_of.parent)
        made_of.write_text(digest)


def agree(model: Path, first: Path, plan: Plan) -> dict[str, float]:
    """The largest difference of a probability, by server. Raises BenchmarkError if one is too large."""
    asked, found = agreement.questions(model), {}
    for server in chosen(model, plan):
        with servers.running(server, model, first) as running:
            found[server.name] = agreement.check(server, running, model, asked)
        print(f"{model.name}: {server.name} agrees within {found[server.name]:.4f}", flush=True)
    return found


def measure_model(model: Path, agreed: dict[str, float], requests: Requests, plan: Plan) -> Model:
    starts: list[Start] = []
    cells: list[Cell] = []
    for number in range(plan.rounds):
        for server in chosen(model, plan):
            with servers.running(server, model, requests[SMALL]) as running:
                starts.append(Start(server=server.name, seconds=running.start_seconds))
                for kind, connections in ((BIG, 8), (SMALL, 1)):
                    client.load(running.port, servers.PATH, requests[kind], connections=connections, seconds=WARM_UP_SECONDS)
                measured = [measure_cell(server, running, requests, *load, plan.seconds) for load in LOADS]
            cells += measured
            rate = measured[0].requests_per_second
            print(f"{model.name}, round {number + 1}: {server.name}: {rate:.0f} requests/s", flush=True)
    ours = next((server for server in chosen(model, plan) if server.peer == servers.OURS), None)
    return Model(
        name=model.name,
        backbone=read_description(model).backbone,
        servers={server.name: server.peer for server in chosen(model, plan)},
        agreement=agreed,
        starts=starts,
        cells=cells,
        own=measure_own(ours, model, requests, plan) if ours else None,
        engines=engines.compare(model) if ours and ours.variant == servers.INT8 else None,
    )


def measure_cell(server: Server, running: Running, requests: Requests, kind: Kind, connections: int, seconds: float) -> Cell:
    before = processes.cpu_seconds(running.pid)
    with processes.peak_memory(running.pid) as peak:
        load = client.load(running.port, servers.PATH, requests[kind], connections=connections, seconds=seconds)
    return Cell(
        server=server.name,
        image=kind.name,
        connections=connections,
        load=load,
        cpu_ms=1000 * (processes.cpu_seconds(running.pid) - before) / load.requests,
        rss=peak.memory.rss,
        pss=peak.memory.pss,
    )


def measure_own(server: Server, model: Path, requests: Requests, plan: Plan) -> Own:
    marks = [mark // (1 if plan.rounds > 1 else 100) for mark in own.GROWTH]
    with servers.running(server, model, requests[SMALL]) as running:
        split = own.split(running, requests[BIG])
        growth = own.growth(running, requests[SMALL], marks)
    return Own(
        variant=server.variant,
        split=split,
        growth=growth,
        work_cpu_ms=lanes.work_cpu_ms(model, server.variant),
        lanes=lanes.scaling(model, server.variant, seconds=min(1, plan.seconds / 4)),
    )


def chosen(model: Path, plan: Plan) -> list[Server]:
    return [server for server in servers.of(model) if plan.only.lower() in server.name.lower()]


if __name__ == "__main__":
    sys.exit(main())
