"""Our batcher and classifier without HTTP: images per second by lanes and batch size, and the CPU time of a request's work."""

import asyncio
import statistics
import time
from pathlib import Path

from service.engine.batcher import Batcher
from service.images.decode import decode_image
from service.model.artefact import read_artefact
from service.model.classifier import Classifier, GreyImage, Outputs
from tests.benchmarks.images import BIG, SMALL, drawings, encode
from tests.benchmarks.results import Lanes

LANES, BATCH_SIZES = (1, 2), (1, 2, 4, 8, 16)
REPEATS = 3
WORK_RUNS = 100


def scaling(model: Path, variant: str, seconds: float) -> list[Lanes]:
    """Medians of several turns, each of about `seconds`."""
    classifier = Classifier(read_artefact(model, variant))
    classifier.warm_up(max(BATCH_SIZES))
    grey = decode_image(encode(next(drawings(1, seed=0)), SMALL)).grey
    begin = time.perf_counter()
    for _ in range(10):
        classifier.classify([grey])
    count = max(4 * max(BATCH_SIZES), round(10 * seconds / (time.perf_counter() - begin)))
    found: dict[tuple[int, int], list[float]] = {(lanes, size): [] for lanes in LANES for size in BATCH_SIZES}
    for _ in range(REPEATS):
        for (lanes, size), rates in found.items():
            rates.append(_images_per_second(classifier, grey, lanes, size, count))
    return [
        Lanes(lanes=lanes, max_batch_size=size, images_per_second=statistics.median(rates))
        for (lanes, size), rates in found.items()
    ]


def work_cpu_ms(model: Path, variant: str) -> float:
    """Median CPU time of decoding the big JPEG and of its inference, one after the other."""
    classifier = Classifier(read_artefact(model, variant))
    classifier.warm_up(1)
    content = encode(next(drawings(1, seed=0)), BIG)
    times = []
    for _ in range(WORK_RUNS):
        begin = time.process_time()
        classifier.classify([decode_image(content).grey])
        times.append(1000 * (time.process_time() - begin))
    return statistics.median(times)


def _images_per_second(classifier: Classifier, grey: GreyImage, lanes: int, size: int, count: int) -> float:
    batcher: Batcher[GreyImage, Outputs] = Batcher(classifier.classify_each, lanes=lanes, max_batch_size=size)

    async def answer_all() -> float:
        begin = time.perf_counter()
        await asyncio.gather(*(batcher.submit(grey) for _ in range(count)))
        return count / (time.perf_counter() - begin)

    batcher.open()
    try:
        return asyncio.run(answer_all())
    finally:
        batcher.close()
