"""Mixed traffic at half of what the service can answer, for hours: do memory, descriptors or threads grow?

python -m tests.torture.soak MINUTES        writes soak.json and its part of the README
"""

import asyncio
import collections
import http
import random
import sys
import time

import numpy as np
import uvloop

from tests.conftest import encode, grey
from tests.torture import inputs, loads, report, results
from tests.torture.process import Service, serving
from tests.torture.wire import NO_ANSWER, Connection, form, part, post

SHARE_OF_PEAK = 0.5
GOOD_SHARE = 0.8
CONNECTIONS = 8
SAMPLE_SECONDS = 10.0
WARM_UP_SHARE = 0.2
BIGGEST_BAD_BYTES = 100_000  # so that the rate is one of requests, not of bytes

Request = tuple[int, bytes]  # the expected status, and what is sent


def main() -> int:
    minutes = float(sys.argv[1])
    found = soak(minutes)
    results.save(results.SOAK, found)
    report.write()
    print(f"{found.rss_slope:+.2f} MB per hour, {found.unexpected} unexpected answers of {sum(found.statuses.values()):,}")
    return int(found.unexpected > 0)


def soak(minutes: float) -> results.Soak:
    """Raises ValueError if fewer than three samples come after the warm-up: they do not determine a slope."""
    with serving() as service:
        peak = loads.closed_loop(service.port, CONNECTIONS, 5)
        rate = SHARE_OF_PEAK * peak
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            statuses, unexpected, samples = runner.run(send_mixed(service, rate, 60 * minutes))
    warm = [sample for sample in samples if sample.seconds >= WARM_UP_SHARE * 60 * minutes]
    if len(warm) < 3:
        raise ValueError(f"{len(warm)} samples after the warm-up: soak for longer")
    rss = [sample.rss_mb for sample in warm]
    descriptors, threads = [sample.descriptors for sample in warm], [sample.threads for sample in warm]
    return results.Soak(
        **results.surroundings(),
        minutes=minutes,
        warm_up_minutes=round(WARM_UP_SHARE * minutes, 1),
        rate=round(rate, 1),
        peak=round(peak, 1),
        statuses={str(status): count for status, count in sorted(statuses.items())},
        unexpected=unexpected,
        rss_slope=round(float(np.polyfit([sample.seconds / 3600 for sample in warm], rss, 1)[0]), 3),
        rss_mb=(min(rss), max(rss)),
        descriptors=(min(descriptors), max(descriptors)),
        threads=(min(threads), max(threads)),
        samples=samples,
    )


async def send_mixed(
    service: Service, rate: float, seconds: float
) -> tuple[collections.Counter[int], int, list[results.Sample]]:
    """Returns the number of answers by status, the number of unexpected ones, and samples of the process."""
    statuses: collections.Counter[int] = collections.Counter()
    unexpected = 0
    good, bad, dice = good_requests(), bad_requests(), random.Random(1)
    begin = time.monotonic()
    moments = iter([begin + number / rate for number in range(round(rate * seconds))])

    async def client() -> None:
        nonlocal unexpected
        connection = Connection(service.port)
        for due in moments:  # all clients share them
            if time.monotonic() > begin + seconds:
                break
            await asyncio.sleep(max(0, due - time.monotonic()))
            expected, content = dice.choice(good if dice.random() < GOOD_SHARE else bad)
            try:
                status = (await connection.ask(content)).status
            except (OSError, TimeoutError):  # reset during sending: the service rejected the request at once
                status = NO_ANSWER
            if status != http.HTTPStatus.OK:
                connection.close()  # some bad requests lack their end: the service would take the next one for it
            statuses[status] += 1
            unexpected += status != expected
        connection.close()

    clients = asyncio.gather(*(client() for _ in range(CONNECTIONS)))
    samples = []
    while not clients.done():
        samples.append(
            results.Sample(
                seconds=round(time.monotonic() - begin, 1),
                rss_mb=round(service.rss_mb(), 2),
                descriptors=service.descriptors(),
                threads=service.threads(),
            )
        )
        await asyncio.wait([clients], timeout=SAMPLE_SECONDS)
    await clients
    return statuses, unexpected, samples


def good_requests() -> list[Request]:
    images = [inputs.jpeg(), inputs.png(), encode(grey(1300, 1000), "JPEG"), encode(grey(600, 500))]
    requests = [post(image) for image in images] + [form(part(image)) for image in images]
    requests.append(form(part(inputs.png(), "images") * 3, path="/predict/batch"))
    requests.append(post(inputs.jpeg(), path="/predict?heatmap=true"))
    return [(200, request) for request in requests]


def bad_requests() -> list[Request]:
    bad = [case for case in inputs.cases() if 400 <= case.expected < 500]
    requests = [(case.expected, request) for case in bad for request in case.requests if isinstance(request, bytes)]
    return [(expected, request) for expected, request in requests if len(request) <= BIGGEST_BAD_BYTES]


if __name__ == "__main__":
    sys.exit(main())
