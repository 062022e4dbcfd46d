"""Compares another checkout of this project with this one, on the same machine. Needs wrk, and a .venv in the other checkout.
python -m tests.benchmarks.compare CHECKOUT [--rounds 9] [--seconds 5] [--model models/default]
Both servers run in turn with this checkout's default model, or with the folder that is named. Each round gives one ratio, so
that slow changes of the machine's speed affect both alike. It prints the medians, and the ratios with their least and
greatest."""

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import client, images, own, processes, servers
from tests.benchmarks.images import BIG, PNG, REAL, SMALL
from tests.benchmarks.servers import Running
from tests.conftest import DEFAULT_MODEL

WARM_UP_SECONDS = 2
LOADS = {f"{kind.name}, {connections}": (kind, connections) for kind, connections in
         ((BIG, 8), (BIG, 1), (REAL, 8), (SMALL, 8), (PNG, 8))}  # fmt: skip
EVENT_LOOP = f"event loop's CPU ms a request, {SMALL.name}"
Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="folder of the checkout to compare with")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=5, help="of each load for each server in each round")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="model folder of both")
    arguments = parser.parse_args()
    new = servers.SERVERS[0]
    old = new._replace(name=f"before, {new.variant}", checkout=arguments.checkout.resolve())
    requests = {kind: client.request(kind.name, images.first(kind), kind.content_type) for kind in (BIG, REAL, SMALL, PNG)}
    found: dict[servers.Server, list[Figures]] = {old: [], new: []}
    for number in range(arguments.rounds):
        for server in (old, new) if number % 2 == 0 else (new, old):
            with servers.running(server, arguments.model.resolve(), requests[SMALL]) as running:
                client.load(running.port, requests[BIG], connections=8, seconds=WARM_UP_SECONDS)
                found[server].append(measure(running, requests, arguments.seconds))
        print(f"round {number + 1} of {arguments.rounds}", flush=True)
    show(found[old], found[new])


def measure(running: Running, requests: dict[images.Kind, Path], seconds: float) -> Figures:
    figures: Figures = {"seconds to the first answer": running.start_seconds}
    for name, (kind, connections) in LOADS.items():
        before = processes.cpu_seconds(running.pid)
        load = client.load(running.port, requests[kind], connections=connections, seconds=seconds)
        figures[f"requests/s, {name}"] = load.requests / load.seconds
        figures[f"CPU ms a request, {name}"] = 1000 * (processes.cpu_seconds(running.pid) - before) / load.requests
        figures[f"p99 ms, {name}"] = load.p99_ms
    figures[EVENT_LOOP] = own.event_loop_ms(running, requests[SMALL], seconds)
    figures["RSS MB"] = processes.memory(running.pid).rss / 1e6
    return figures


def show(old: list[Figures], new: list[Figures]) -> None:
    median: Callable[[list[float]], float] = statistics.median
    print(f"{'medians':50} {'before':>8} {'after':>8}  after / before")
    for name in new[0]:
        before, after = ([figures[name] for figures in rounds] for rounds in (old, new))
        ratios = [each / other for each, other in zip(after, before, strict=True)]
        spread = f"{median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f})"
        print(f"{name:50} {median(before):8.2f} {median(after):8.2f}  {spread}")


if __name__ == "__main__":
    main()
