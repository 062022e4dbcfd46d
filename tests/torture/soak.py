"""Hours of mixed traffic at half of what the service can do: does its memory grow, do descriptors or threads leak?

python -m tests.torture.soak MINUTES        writes soak.json and its line in the README
"""

import asyncio
import collections
import http
import itertools
import random
import sys
import time
from collections.abc import AsyncIterator
from typing import TypeVar

import numpy as np
import uvloop
from PIL import Image

from tests.conftest import encode, grey
from tests.torture import inputs, loads, report, results
from tests.torture.process import Service, serving
from tests.torture.wire import Connection, form, part, post

Number = TypeVar("Number", int, float)

SHARE_OF_PEAK = 0.5
GOOD_SHARE = 0.8
CONNECTIONS = 8
SAMPLE_SECONDS = 10.0
WARM_UP_SHARE = 0.2
BIGGEST_BAD_BYTES = 100_000  # so that the rate is one of requests, not of bytes


def main() -> int:
    minutes = float(sys.argv[1])
    found = soak(minutes)
    results.save(results.SOAK, found)
    report.write()
    print(f"{found.rss_slope:+.2f} MB/hour, {found.unexpected} unexpected answers of {sum(found.statuses.values()):,}")
    return int(found.unexpected > 0)


def soak(minutes: float) -> results.Soak:
    with serving() as service:
        peak = loads.closed_loop(service.port, CONNECTIONS, 5)
        rate = SHARE_OF_PEAK * peak
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            statuses, unexpected, samples = runner.run(mixed(service, rate, 60 * minutes))
    warm = [sample for sample in samples if sample.seconds >= WARM_UP_SHARE * 60 * minutes]
    return results.Soak(
        date=results.today(),
        processor=results.processor(),
        cpus=results.cpus(),
        minutes=minutes,
        warm_up_minutes=round(WARM_UP_SHARE * minutes, 1),
        rate=round(rate, 1),
        peak=round(peak, 1),
        statuses={str(status): count for status, count in sorted(statuses.items())},
        unexpected=unexpected,
        rss_slope=slope_an_hour(warm),
        rss_mb=extremes([sample.rss_mb for sample in warm]),
        descriptors=extremes([sample.descriptors for sample in warm]),
        threads=extremes([sample.threads for sample in warm]),
        samples=samples,
    )


async def mixed(service: Service, rate: float, seconds: float) -> tuple[collections.Counter[int], int, list[results.Sample]]:
    statuses: collections.Counter[int] = collections.Counter()
    unexpected = 0
    begin = time.monotonic()
    numbers = itertools.count()
    good, bad, dice = good_requests(), bad_requests(), random.Random(1)

    async def client() -> None:
        nonlocal unexpected
        connection = Connection(service.port)
        async for _ in paced(numbers, rate, begin, seconds):
            expected, content = dice.choice(good if dice.random() < GOOD_SHARE else bad)
            try:
                status = (await connection.ask(content)).status
            except (OSError, TimeoutError):  # reset while it was sent, where the service refuses at once
                status = 0
            if status != http.HTTPStatus.OK:
                connection.close()  # some bad requests lack their end: what came next would be taken for it
            statuses[status] += 1
            unexpected += status not in expected
        connection.close()

    clients = asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    samples = []
    while not clients.done():
        samples.append(sample(service, time.monotonic() - begin))
        await asyncio.wait([clients], timeout=SAMPLE_SECONDS)
    await clients
    return statuses, unexpected, samples


async def paced(numbers: "itertools.count[int]", rate: float, begin: float, seconds: float) -> AsyncIterator[int]:
    """Numbers that all clients share, each at its time."""
    for number in numbers:
        due = begin + number / rate
        if due > begin + seconds or time.monotonic() > begin + seconds:
            return
        await asyncio.sleep(max(0, due - time.monotonic()))
        yield number


def good_requests() -> list[tuple[set[int], bytes]]:
    pictures = [inputs.jpeg(), inputs.png(), encode(grey(1300, 1000), "JPEG"), encode(Image.fromarray(grey(600, 500)))]
    requests = [post(picture) for picture in pictures] + [form(part(picture)) for picture in pictures]
    requests += [
        form(part(inputs.png(), "images") * 3, path="/predict/batch"),
        post(inputs.jpeg(), path="/predict?heatmap=true"),
    ]
    return [({200}, request) for request in requests]


def bad_requests() -> list[tuple[set[int], bytes]]:
    cases = [(case.expected, case.content()) for case in inputs.cases() if min(case.expected) >= 400]
    return [(expected, content) for expected, content in cases if len(content) <= BIGGEST_BAD_BYTES]


def sample(service: Service, seconds: float) -> results.Sample:
    return results.Sample(
        seconds=round(seconds, 1),
        rss_mb=round(service.rss_mb(), 2),
        descriptors=service.descriptors(),
        threads=service.threads(),
    )


def slope_an_hour(samples: list[results.Sample]) -> float:
    """MB, by least squares. Raises ValueError: fewer than three samples, of which no line says anything."""
    if len(samples) < 3:
        raise ValueError(f"{len(samples)} samples after the warm-up: soak for longer")
    hours = np.array([sample.seconds / 3600 for sample in samples])
    return round(float(np.polyfit(hours, [sample.rss_mb for sample in samples], 1)[0]), 3)


def extremes(values: list[Number]) -> tuple[Number, Number]:
    return min(values), max(values)


if __name__ == "__main__":
    sys.exit(main())
