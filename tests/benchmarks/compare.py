"""Compares the requests/s of another checkout of this project with those of this one, on the same machine. Needs wrk.

python -m tests.benchmarks.compare CHECKOUT [--rounds 9] [--seconds 5]

In each round one server is started, warmed up, measured and stopped, then the other one; the order changes from round to round.
Both use this checkout's default model, and answer a JPEG of 1300 × 1000 over eight connections. Each round gives one ratio, so
that slow changes of the machine's speed affect both servers alike. The other checkout needs its own .venv.
"""

import argparse
import statistics
import sys
from pathlib import Path

import msgspec

from tests.benchmarks import client, servers
from tests.benchmarks.environments import BenchmarkError
from tests.benchmarks.images import BIG, drawings, encode
from tests.benchmarks.servers import Server
from tests.conftest import DEFAULT_MODEL

CONNECTIONS = 8
WARM_UP_SECONDS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="folder of the checkout to compare with")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=5, help="of load for each server in each round")
    arguments = parser.parse_args()
    new = servers.of(DEFAULT_MODEL)[0]
    old = msgspec.structs.replace(new, name=f"before, {new.variant}", checkout=arguments.checkout.resolve())
    before: list[float] = []
    after: list[float] = []
    try:
        for number in range(arguments.rounds):
            for server, rates in ((old, before), (new, after))[:: 1 if number % 2 == 0 else -1]:
                rates.append(requests_per_second(server, arguments.seconds))
            print(f"round {number + 1}: {before[-1]:.1f} before, {after[-1]:.1f} after", flush=True)
    except BenchmarkError as error:
        sys.exit(f"compare: {error}")
    ratios = [new / old for old, new in zip(before, after, strict=True)]
    print(f"median requests/s: {statistics.median(before):.1f} before, {statistics.median(after):.1f} after")
    print(f"after / before: {statistics.median(ratios):.3f} ({min(ratios):.3f}–{max(ratios):.3f}), {len(ratios)} rounds")


def requests_per_second(server: Server, seconds: float) -> float:
    request = client.request(BIG.name, encode(next(drawings(1, seed=0)), BIG), BIG.content_type)
    with servers.running(server, DEFAULT_MODEL, request) as running:
        client.load(running.port, servers.PATH, request, connections=CONNECTIONS, seconds=WARM_UP_SECONDS)
        load = client.load(running.port, servers.PATH, request, connections=CONNECTIONS, seconds=seconds)
        return load.requests / load.seconds


if __name__ == "__main__":
    main()
