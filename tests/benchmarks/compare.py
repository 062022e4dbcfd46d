"""Compares the requests/s of another checkout of this project with those of this one, on the same machine. Needs wrk.
python -m tests.benchmarks.compare CHECKOUT [--rounds 9] [--seconds 5]
Both servers run in turn with this checkout's default model, and answer a JPEG of 1300 × 1000 over eight connections. Each round
gives one ratio, so that slow changes of the machine's speed affect both alike. The other checkout needs its own .venv."""

import argparse
import statistics
from pathlib import Path

from tests.benchmarks import client, images, servers
from tests.benchmarks.images import BIG
from tests.conftest import DEFAULT_MODEL

WARM_UP_SECONDS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="folder of the checkout to compare with")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=5, help="of load for each server in each round")
    arguments = parser.parse_args()
    request = client.request(BIG.name, images.first(BIG), BIG.content_type)
    new = servers.SERVERS[0]
    old = new._replace(name=f"before, {new.variant}", checkout=arguments.checkout.resolve())
    rates: dict[servers.Server, list[float]] = {old: [], new: []}
    for number in range(arguments.rounds):
        for server in (old, new) if number % 2 == 0 else (new, old):
            with servers.running(server, DEFAULT_MODEL, request) as running:
                client.load(running.port, request, connections=8, seconds=WARM_UP_SECONDS)
                load = client.load(running.port, request, connections=8, seconds=arguments.seconds)
            rates[server].append(load.requests / load.seconds)
        print(f"round {number + 1}: {rates[old][-1]:.1f} before, {rates[new][-1]:.1f} after", flush=True)
    ratios = [after / before for before, after in zip(rates[old], rates[new], strict=True)]
    print(f"median requests/s: {statistics.median(rates[old]):.1f} before, {statistics.median(rates[new]):.1f} after")
    print(f"after / before: {statistics.median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f}), {len(ratios)} rounds")


if __name__ == "__main__":
    main()
