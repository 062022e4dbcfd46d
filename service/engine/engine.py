"""A loaded model and the threads that run it: the one object behind HTTP, the Open Inference Protocol and archives."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple, TypeVar

from service import machine
from service.engine.admission import Admission
from service.engine.batcher import Batcher, Completed
from service.engine.decoders import Decode, Decoders
from service.engine.promise import Promise
from service.engine.watchdog import watched
from service.errors import NoAnswer
from service.images.decode import DecodedImage, warm_up_decoders
from service.metrics import Metrics, outcome
from service.model.artefact import Artefact, read_artefact, read_description
from service.model.classifier import Classifier, Outputs
from service.model.prediction import Prediction, interpret
from service.model.variant import choose_variant
from service.settings import Settings

T = TypeVar("T")
REFRESH_SECONDS = 0.5


class TimedPrediction(NamedTuple):
    """`decode_ms` includes the wait for a decoder thread; `inference_ms` is that of the whole batch."""

    prediction: Prediction
    batch_size: int
    decode_ms: float
    queue_ms: float
    inference_ms: float


class Engine:
    """`predict_now` works at any time, on the calling thread. `predict` needs `running`."""

    def __init__(self, artefact: Artefact, settings: Settings, variant_reason: str = "", processes: int = 1) -> None:
        """`processes` share the CPUs, this one included. Raises ArtefactError if the model does not load, or does not compute
        here what it should."""
        self.artefact = artefact
        self.settings = settings
        self.variant_reason = variant_reason
        self.cpus = machine.available_cpus()
        self.processes = processes
        self.lanes = math.ceil((settings.lanes or self.cpus) / processes)
        self._classifier = Classifier(artefact)
        self._classifier.warm_up(settings.max_batch_size)
        self._classifier.self_test()
        warm_up_decoders()
        self.metrics = Metrics(processes)
        self._batcher = Batcher(self._run, lanes=self.lanes, max_batch_size=settings.max_batch_size)
        self.admission = Admission(max_images=settings.queue_limit, max_bytes=settings.queue_bytes)
        self.decoders = Decoders(self.lanes, self.admission.hold)
        self.metrics.model(name=artefact.description.name, variant=artefact.variant, sha256=artefact.sha256)
        self.metrics.gauge("lanes", "Threads that infer", lambda: self.lanes)
        self.metrics.gauge("in_flight_images", "Images in work", lambda: self.admission.images)
        self.metrics.gauge("in_flight_bytes", "Bytes of bodies that arrive or are in work", lambda: self.admission.bytes)
        self.metrics.gauge("queue_depth_images", "Images that wait for a lane", lambda: self._batcher.waiting)

    @classmethod
    def load(cls, settings: Settings, processes: int = 1) -> "Engine":
        """Verifies the model folder, and loads the variant for this machine. Raises ArtefactError if it cannot be trusted."""
        folder = Path(settings.model)
        choice = choose_variant(settings.variant, read_description(folder).variants, machine.int8_instructions())
        return cls(read_artefact(folder, choice.variant), settings, choice.reason, processes)

    @property
    def max_images(self) -> int:
        """The most images in one request."""
        return min(self.settings.max_images, self.settings.queue_limit)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Runs the lanes under a watchdog. At the end all submitted images are answered first."""
        self._batcher.open()
        self.decoders.open()
        refreshing = asyncio.create_task(self._refresh_gauges())
        async with watched(self._batcher.progress, self.settings.watchdog_seconds):
            yield
            await asyncio.to_thread(self._batcher.close)
        refreshing.cancel()
        self.decoders.close()

    async def predict(self, decode: Decode) -> TimedPrediction:
        """Decodes the image, and queues it for a lane. Raises Overloaded if all places are taken, NotReady while stopping,
        NoAnswer, and what `decode` raises."""
        start = decoded = time.perf_counter()

        def queue(image: DecodedImage, promise: Promise[Completed[Prediction | NoAnswer]]) -> None:
            nonlocal decoded
            decoded = time.perf_counter()
            self._batcher.submit(image, promise)

        try:
            with self.admission.image():
                completed = await self.decoders.hand_on(decode, queue)
                if isinstance(prediction := completed.result, NoAnswer):
                    raise prediction
        except Exception as error:
            self.metrics.count_failure(error)
            raise
        timed = TimedPrediction(
            prediction, completed.batch_size, 1000 * (decoded - start), completed.queue_ms, completed.run_ms
        )
        self._count(timed)
        return timed

    async def use(self, decode: Decode, make: Callable[[DecodedImage], T]) -> T:
        """What `make` makes of the image, in a decoder thread. Raises Overloaded if all places are taken, and what `decode`
        raises."""
        with self.admission.image():
            return await self.decoders.hand_on(decode, lambda image, promise: promise.keep(make(image)))

    def predict_now(self, image: DecodedImage) -> Prediction:
        """Predicts on the calling thread."""
        return interpret(self.artefact.description, image, self._classifier.classify_each([image.grey])[0])

    async def _refresh_gauges(self) -> None:
        """For other processes, which are asked for the metrics of all."""
        while self.processes > 1:
            self.metrics.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    def _run(self, images: list[DecodedImage]) -> list[Prediction | NoAnswer]:
        start = time.perf_counter()
        outputs = self._classifier.classify_each([image.grey for image in images])
        self.metrics.inference_seconds.observe(time.perf_counter() - start)
        self.metrics.batch_size.observe(len(images))
        return [self._interpret(image, of_image) for image, of_image in zip(images, outputs, strict=True)]

    def _interpret(self, image: DecodedImage, outputs: Outputs) -> Prediction | NoAnswer:
        """Returns the error, since the other images of a run have their answers."""
        try:
            return interpret(self.artefact.description, image, outputs)
        except NoAnswer as error:
            return error

    def _count(self, timed: TimedPrediction) -> None:
        prediction, metrics = timed.prediction, self.metrics
        metrics.images(outcome(200)).inc()
        metrics.decode_seconds.observe(timed.decode_ms / 1000)
        metrics.queue_wait_seconds.observe(timed.queue_ms / 1000)
        metrics.predictions(prediction.label, prediction.novelty.level).inc()
        for reason in prediction.reasons:
            metrics.abstentions(reason).inc()
        metrics.positive_probability.observe(prediction.probabilities[self.artefact.description.positive])
