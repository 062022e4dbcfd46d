"""Mixed traffic at half of the peak: do memory, descriptors or threads grow?  python -m tests.torture.soak MINUTES"""

import asyncio
import collections
import random
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import uvloop

from tests.conftest import encode, grey
from tests.torture import inputs, loads, report, results
from tests.torture.process import Service, serving
from tests.torture.results import Sample
from tests.torture.wire import form, part, post

SHARE_OF_PEAK, GOOD_SHARE, WARM_UP_SHARE = 0.5, 0.8, 0.2
CONNECTIONS = 8
SAMPLE_SECONDS = 10.0
BIGGEST_BAD_BYTES = 100_000  # so that the rate is one of requests, not of bytes


def main() -> int:
    found = soak(float(sys.argv[1]))
    results.save(results.SOAK, found)
    report.write()
    print(f"{found.rss_slope:+.2f} MB per hour, {found.unexpected} unexpected answers of {sum(found.statuses.values()):,}")
    return int(found.unexpected > 0)


def soak(minutes: float) -> results.Soak:
    """Raises ValueError if fewer than three samples come after the warm-up: they do not determine a slope."""
    answers: collections.Counter[tuple[int, int]] = collections.Counter()  # by expected and actual status
    with serving() as service:
        peak = loads.peak_rate(service.port, CONNECTIONS, 5)
        dues = traffic(SHARE_OF_PEAK * peak, 60 * minutes)
        samples = uvloop.run(send_and_sample(service, dues, lambda shot: answers.update([(shot.expected, shot.status)])))
    warm = [sample for sample in samples if sample.seconds >= WARM_UP_SHARE * 60 * minutes]
    if len(warm) < 3:
        raise ValueError(f"{len(warm)} samples after the warm-up: soak for longer")
    descriptors, threads = [sample.descriptors for sample in warm], [sample.threads for sample in warm]
    rss, hours = [sample.rss_mb for sample in warm], [sample.seconds / 3600 for sample in warm]
    statuses = sorted({status for _, status in answers})
    return results.Soak(
        **results.surroundings(),
        minutes=minutes,
        warm_up_minutes=round(WARM_UP_SHARE * minutes, 1),
        rate=round(SHARE_OF_PEAK * peak, 1),
        peak=round(peak, 1),
        statuses={str(one): sum(count for (_, status), count in answers.items() if status == one) for one in statuses},
        unexpected=sum(count for (expected, status), count in answers.items() if status != expected),
        rss_slope=round(float(np.polyfit(hours, rss, 1)[0]), 3),
        rss_mb=(min(rss), max(rss)),
        descriptors=(min(descriptors), max(descriptors)),
        threads=(min(threads), max(threads)),
        samples=samples,
    )


async def send_and_sample(service: Service, dues: Iterator[loads.Due], note: Callable[[loads.Shot], None]) -> list[Sample]:
    begin, samples = time.monotonic(), list[Sample]()
    clients = asyncio.ensure_future(loads.shoot(service.port, CONNECTIONS, dues, note))
    while not clients.done():
        seconds, rss_mb = round(time.monotonic() - begin, 1), round(service.rss_mb(), 2)
        descriptors, threads = service.descriptors(), service.threads()
        samples.append(Sample(seconds=seconds, rss_mb=rss_mb, descriptors=descriptors, threads=threads))
        await asyncio.wait([clients], timeout=SAMPLE_SECONDS)
    await clients
    return samples


def traffic(rate: float, seconds: float) -> Iterator[loads.Due]:
    images = [inputs.JPEG, inputs.PNG, encode(grey(1300, 1000), "JPEG"), encode(grey(600, 500))]
    good = [(200, request) for image in images for request in (post(image), form(part(image)))]
    good.append((200, form(part(inputs.PNG, "images") * 3, path="/predict/batch")))
    good.append((200, post(inputs.JPEG, path="/predict?heatmap=true")))
    whole = [(case.expected, request) for case in inputs.cases() for request in case.requests if isinstance(request, bytes)]
    bad = [(status, request) for status, request in whole if status // 100 == 4 and len(request) <= BIGGEST_BAD_BYTES]
    dice = random.Random(1)
    for due in loads.moments(rate, seconds):
        yield due, *dice.choice(good if dice.random() < GOOD_SHARE else bad)


if __name__ == "__main__":
    sys.exit(main())
