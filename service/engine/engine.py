"""A loaded model and the threads that run it: the one object behind HTTP, the Open Inference Protocol and archives."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeAlias, TypeVar

from service import machine
from service.engine.admission import Admission
from service.engine.batcher import Batcher
from service.engine.watchdog import watched
from service.images.decode import DecodedImage, warm_up_decoders
from service.metrics import Metrics, outcome
from service.model.artefact import Artefact, read_artefact, read_description
from service.model.classifier import Classifier, GreyImage, Outputs
from service.model.prediction import Prediction, interpret
from service.model.variant import choose_variant
from service.settings import Settings

T = TypeVar("T")
# Called in a decoder thread. It may return a function in place of the image: that one is called in a thread for slow images.
Decode: TypeAlias = Callable[[], DecodedImage | Callable[[], DecodedImage]]


class TimedPrediction(NamedTuple):
    """`decode_ms` includes the wait for a decoder thread; `inference_ms` is that of the whole batch."""

    prediction: Prediction
    batch_size: int
    decode_ms: float
    queue_ms: float
    inference_ms: float


class Engine:
    """`predict_now` works at any time, on the calling thread. `predict` needs `running`."""

    def __init__(self, artefact: Artefact, settings: Settings, variant_reason: str = "") -> None:
        """Raises ArtefactError if the model does not load, or does not compute here what it should."""
        self.artefact = artefact
        self.settings = settings
        self.variant_reason = variant_reason
        self.cpus = machine.available_cpus()
        self.lanes = settings.lanes or self.cpus
        self._classifier = Classifier(artefact)
        self._classifier.warm_up(settings.max_batch_size)
        self._classifier.self_test()
        warm_up_decoders()
        self.metrics = Metrics()
        self._batcher = Batcher(self._run, lanes=self.lanes, max_batch_size=settings.max_batch_size)
        # Decoding has threads of its own, as many as there are lanes: it fills the time that the lanes leave.
        # Images that take long have others, so that no number of them keeps a quick one waiting.
        self._decoders = ThreadPoolExecutor(self.lanes, thread_name_prefix="decoder")
        self._slow_decoders = ThreadPoolExecutor(self.lanes, thread_name_prefix="slow-decoder")
        self.admission = Admission(max_images=settings.queue_limit, max_bytes=settings.queue_bytes)
        self.metrics.model(name=artefact.description.name, variant=artefact.variant, sha256=artefact.sha256)
        self.metrics.gauge("lanes", "Threads that infer", lambda: self.lanes)
        self.metrics.gauge("in_flight_images", "Images in work", lambda: self.admission.images)
        self.metrics.gauge("in_flight_bytes", "Bytes of bodies that arrive or are in work", lambda: self.admission.bytes)
        self.metrics.gauge("queue_depth_images", "Images that wait for a lane", lambda: self._batcher.waiting)

    @classmethod
    def load(cls, settings: Settings) -> "Engine":
        """Verifies the model folder, and loads the variant for this machine. Raises ArtefactError if it cannot be trusted."""
        folder = Path(settings.model)
        choice = choose_variant(settings.variant, read_description(folder).variants, machine.int8_instructions())
        return cls(read_artefact(folder, choice.variant), settings, choice.reason)

    @property
    def max_images(self) -> int:
        """The most images in one request."""
        return min(self.settings.max_images, self.settings.queue_limit)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the lanes under a watchdog. At the end all submitted images are answered first."""
        self._batcher.open()
        async with watched(self._batcher.progress, self.settings.watchdog_seconds):
            yield
            await asyncio.to_thread(self._batcher.close)
        for pool in (self._decoders, self._slow_decoders):
            pool.shutdown(wait=False, cancel_futures=True)  # nobody waits any more for what they decode

    async def predict(self, decode: Decode) -> TimedPrediction:
        """Decodes the image, and queues it for a lane. Raises Overloaded if all places are taken, NotReady while stopping,
        NoAnswer, and what `decode` raises."""
        try:
            with self.admission.image():
                start = time.perf_counter()
                image = await self._decode(decode)
                decode_ms = 1000 * (time.perf_counter() - start)
                ran = await self._batcher.submit(image.grey)
                prediction = interpret(self.artefact.description, image, ran.result)
        except Exception as error:
            self.metrics.count_failure(error)
            raise
        timed = TimedPrediction(prediction, ran.batch_size, decode_ms, ran.queue_ms, ran.run_ms)
        self._count(timed)
        return timed

    async def use(self, decode: Decode, make: Callable[[DecodedImage], T]) -> T:
        """What `make` makes of the image, in a decoder thread. Raises Overloaded if all places are taken, and what `decode`
        raises."""
        with self.admission.image():
            image = await self._decode(decode)
            return await self.run_in_decoder(lambda: make(image))

    def predict_now(self, image: DecodedImage) -> Prediction:
        """Predicts on the calling thread."""
        return interpret(self.artefact.description, image, self._classifier.classify_each([image.grey])[0])

    async def run_in_decoder(self, function: Callable[[], T]) -> T:
        """Calls `function` in a decoder thread."""
        return await self._run_in(self._decoders, function)

    async def _decode(self, decode: Decode) -> DecodedImage:
        decoded = await self.run_in_decoder(decode)
        return decoded if isinstance(decoded, DecodedImage) else await self._run_in(self._slow_decoders, decoded)

    async def _run_in(self, pool: ThreadPoolExecutor, function: Callable[[], T]) -> T:
        pending = [function]  # emptied on cancellation, so that a call that is still queued does not hold the request's body
        future = pool.submit(lambda: pending.pop()())
        try:
            return await asyncio.wrap_future(future)
        finally:
            pending.clear()
            if not future.done():  # cancelled, but the thread has begun
                self.admission.hold_until_done(future)

    def _run(self, images: list[GreyImage]) -> list[Outputs]:
        start = time.perf_counter()
        outputs = self._classifier.classify_each(images)
        self.metrics.inference_seconds.observe(time.perf_counter() - start)
        self.metrics.batch_size.observe(len(images))
        return outputs

    def _count(self, timed: TimedPrediction) -> None:
        prediction, metrics = timed.prediction, self.metrics
        metrics.images.labels(outcome(200)).inc()
        metrics.decode_seconds.observe(timed.decode_ms / 1000)
        metrics.queue_wait_seconds.observe(timed.queue_ms / 1000)
        metrics.predictions.labels(prediction.label, prediction.novelty.level).inc()
        for reason in prediction.reasons:
            metrics.abstentions.labels(reason).inc()
        metrics.positive_probability.observe(prediction.probabilities[self.artefact.description.positive])
