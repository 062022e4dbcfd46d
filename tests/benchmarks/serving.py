"""Our service and its peers, with the same weights, images, CPUs and client, in turn. Linux, and wrk, are needed.

make benchmark        writes tests/benchmarks/serving.json, README.md and serving.png; half an hour

In each round every server is started anew, asked until warm, and measured under every load; then the next round begins, so that
what else the machine does falls on all of them. Environments and the second model are made once, in .benchmarks/.
"""

import argparse
import datetime
import hashlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

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
from tests.benchmarks.agreement import Question
from tests.benchmarks.client import Request
from tests.benchmarks.environments import BENCHMARKS, PEERS, BenchmarkError
from tests.benchmarks.images import BIG, KINDS, PNG, SMALL, Kind, drawings, encode
from tests.benchmarks.results import Cell, Model, Own, Result, Start
from tests.benchmarks.servers import Running, Server
from tests.conftest import DEFAULT_MODEL
from training import run_folder

LOADS = [(BIG, 8), (BIG, 1), (BIG, 32), (SMALL, 8), (PNG, 8)]  # image, connections
WARM_UP_SECONDS = 2
TRIAL = BENCHMARKS / "trial"  # what a part of a run writes


class Plan(NamedTuple):
    """`only`: a part of a server's name, to try one; empty: all of them."""

    rounds: int
    seconds: float
    only: str


def main() -> int:
    arguments = _arguments()
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


def measure(models: Sequence[Path], plan: Plan) -> Result:
    requests = {kind: client.request(kind.name, encode(next(drawings(1, seed=0)), kind), kind.content_type) for kind in KINDS}
    wrk = client.version()
    asked = {model: agreement.questions(model) for model in models}
    for model in models:
        prepare(model, asked[model])
    agreed = {model: agree(model, asked[model], requests[SMALL], plan) for model in models}
    found = [measure_model(model, agreed[model], requests, plan) for model in models]
    environment = run_folder.environment()
    return Result(
        processor=str(environment["processor"]),
        cpus=servers.cpus(),
        date=datetime.date.today().isoformat(),
        command=shlex.join(["python", "-m", "tests.benchmarks.serving", *sys.argv[1:]]),
        rounds=plan.rounds,
        seconds=plan.seconds,
        versions={"client": {"wrk": wrk}, **{path.name: environments.versions(path.name) for path in sorted(PEERS.iterdir())}},
        models=found,
    )


def prepare(model: Path, asked: Sequence[Question]) -> None:
    """What peers need beside the model folder; made again when the model, or how it is made, changes."""
    peer = PEERS / engines.PEER
    recipe = [model / SUMS, Path(conversion.__file__), Path(agreement.__file__), peer / "prepare.py", peer / "requirements.txt"]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in recipe)).hexdigest()
    work = servers.work_folder(model)
    made_of = work / "made_of"
    if made_of.exists() and made_of.read_text() == digest:
        return
    print(f"{model.name}: converting for PyTorch and OpenVINO …", flush=True)
    conversion.write(model, work, asked)
    done = subprocess.run(
        [environments.python(peer.name), peer / "prepare.py", work], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BenchmarkError(f"{model.name}: OpenVINO's networks could not be made: {done.stderr[-2000:]}")
    made_of.write_text(digest)


def agree(model: Path, asked: Sequence[Question], first: Request, plan: Plan) -> dict[str, float]:
    """The largest difference of each server, before anything is measured. Raises BenchmarkError: one is too large."""
    found = {}
    for server in chosen(model, plan):
        with servers.running(server, model, first) as running:
            found[server.name] = agreement.check(server, running, model, asked)
        print(f"{model.name}: {server.name} agrees within {found[server.name]:.4f}", flush=True)
    return found


def measure_model(model: Path, agreed: dict[str, float], requests: dict[Kind, Request], plan: Plan) -> Model:
    starts: list[Start] = []
    cells: list[Cell] = []
    for number in range(plan.rounds):
        for server in chosen(model, plan):
            with servers.running(server, model, requests[SMALL]) as running:
                starts.append(Start(server=server.name, seconds=running.start_seconds))
                cells += measure_server(server, running, requests, plan.seconds)
            big = next(cell for cell in reversed(cells) if (cell.image, cell.connections) == (BIG.name, 8))
            print(f"{model.name}, round {number + 1}: {server.name}: {big.requests_per_second:.0f} requests/s", flush=True)
    ours = next((server for server in chosen(model, plan) if server.peer == servers.OURS), None)
    openvino = (servers.work_folder(model) / "openvino" / "choices.json").read_text()
    return Model(
        name=model.name,
        backbone=read_description(model).backbone,
        servers={server.name: server.peer for server in chosen(model, plan)},
        agreement=agreed,
        starts=starts,
        cells=cells,
        own=measure_own(ours, model, requests, plan) if ours else None,
        engines=engines.compare(model) if ours and ours.variant == servers.INT8 else None,
        openvino=json.loads(openvino.replace(str(servers.work_folder(model)) + os.sep, "")),
    )


def measure_server(server: Server, running: Running, requests: dict[Kind, Request], seconds: float) -> list[Cell]:
    for kind, connections in ((BIG, 8), (SMALL, 1)):
        client.load(running.port, servers.PATH, requests[kind], connections=connections, seconds=WARM_UP_SECONDS)
    return [measure_cell(server, running, kind, requests[kind], connections, seconds) for kind, connections in LOADS]


def measure_cell(server: Server, running: Running, kind: Kind, request: Request, connections: int, seconds: float) -> Cell:
    before = processes.cpu_seconds(running.pid)
    with processes.peak_memory(running.pid) as peak:
        load = client.load(running.port, servers.PATH, request, connections=connections, seconds=seconds)
    cpu_seconds = processes.cpu_seconds(running.pid) - before
    return Cell(
        server=server.name,
        image=kind.name,
        connections=connections,
        load=load,
        cpu_ms=1000 * cpu_seconds / load.requests,
        rss=peak.memory.rss,
        pss=peak.memory.pss,
    )


def measure_own(server: Server, model: Path, requests: dict[Kind, Request], plan: Plan) -> Own:
    with servers.running(server, model, requests[SMALL]) as running:
        split = own.split(running, requests[BIG])
        growth = own.growth(running, requests[SMALL], [mark // (1 if plan.rounds > 1 else 100) for mark in own.GROWTH])
    return Own(
        variant=server.variant,
        split=split,
        growth=growth,
        work_cpu_ms=lanes.work_cpu_ms(model, server.variant),
        lanes=lanes.scaling(model, server.variant, seconds=min(1, plan.seconds / 4)),
    )


def chosen(model: Path, plan: Plan) -> list[Server]:
    return [server for server in servers.of(model) if plan.only.lower() in server.name.lower()]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of each load in each round")
    parser.add_argument("--models", nargs="+", choices=["default", "resnet18"], default=["resnet18", "default"])
    parser.add_argument("--only", default="", metavar="NAME", help="servers whose names have this in them")
    parser.add_argument("--quick", action="store_true", help="one round of two seconds: does everything run?")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
