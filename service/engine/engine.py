"""A request's way: admission, body, decoding in a thread, the batcher, a prediction."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar

from litestar import Request as LitestarRequest
from litestar.datastructures import State
from litestar.exceptions import InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.params import HeaderParameter

from service.engine.admission import Admission
from service.engine.batcher import Batcher
from service.errors import BodyTooLarge, DeadlineExceeded, MalformedRequest, RequestError, TooSlow, UnsupportedEncoding
from service.http import schemas
from service.http.schemas import Prediction, Timing
from service.images.decode import DecodedImage
from service.metrics import Metrics, outcome
from service.model.artefact import Artefact
from service.model.classifier import GreyImage, Output
from service.settings import Settings

Made = TypeVar("Made")
Request: TypeAlias = LitestarRequest[Any, Any, State]  # Any: nobody logs in, so there is no user and no token
TimeoutMs: TypeAlias = Annotated[
    int | None,
    HeaderParameter(name="X-Request-Timeout-Ms", ge=1, description="Milliseconds; shortens the service's deadline."),
]


class Work(NamedTuple):
    """What a prediction needs, put together by `app`."""

    artefact: Artefact
    admission: Admission
    batcher: Batcher[GreyImage, Output]
    decoders: ThreadPoolExecutor
    metrics: Metrics
    settings: Settings

    @property
    def max_images(self) -> int:
        """Of one request."""
        return min(self.settings.max_images, self.settings.queue_limit)


@asynccontextmanager
async def received(request: Request, work: Work, timeout_ms: int | None) -> AsyncIterator[bytes]:
    """The body, within the bounds of admission, and with one deadline for it and for what is done with it."""
    if (encoding := request.headers.get("content-encoding", "identity")).lower() != "identity":
        raise UnsupportedEncoding(f"Content-Encoding is {encoding[:20]!r}; bodies are taken as they are")
    deadline_ms = min(timeout_ms or work.settings.deadline_ms, work.settings.deadline_ms)
    late: RequestError = TooSlow(f"the body was not complete after {deadline_ms} ms")
    size = _declared_size(request, work.settings.max_body_bytes)
    work.admission.check(size, deadline_ms / 1000)
    with work.admission.body() as note:
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                body = await _read(request, note)
                request.scope["state"]["notes"]["bytes"] = len(body)
                late = DeadlineExceeded(f"no answer after {deadline_ms} ms")
                yield body
        except TimeoutError:
            raise late from None
        except RequestEntityTooLarge:
            raise BodyTooLarge(f"the body is larger than {work.settings.max_body_bytes:,} bytes") from None


async def predicted(request: Request, work: Work, decode: Callable[[], DecodedImage], *, with_heatmap: bool) -> Prediction:
    """`decode`: makes the image, in a thread."""
    state = request.scope["state"]
    try:
        with work.admission.image():
            start = time.perf_counter()
            # Not in the lanes, though they are as many: with threads of its own decoding fills the time that they leave.
            image = await in_thread(work, decode)
            decode_ms = 1000 * (time.perf_counter() - start)
            answer = await work.batcher.submit(image.grey)
    except Exception as error:
        work.metrics.images.labels(outcome(error.status if isinstance(error, RequestError) else 500)).inc()
        raise
    parts = {"decode": decode_ms, "queue": answer.queue_ms, "inference": answer.run_ms}
    state["timing"].update(parts)
    parts["total"] = 1000 * (time.perf_counter() - state["start"])
    timing = Timing(**{name: round(value, 3) for name, value in parts.items()})
    prediction = schemas.prediction(
        work.artefact, image, answer, with_heatmap=with_heatmap, request_id=state["request_id"], timing=timing
    )
    _count(work, prediction)
    return prediction


async def together(request: Request, images: Iterable[Coroutine[Any, Any, Made]]) -> list[Made]:  # Any: as asyncio has it
    """What becomes of the images of one request, in their order. Raises what the first to fail raised; gives up the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(image) for image in images]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    if len(tasks) > 1:
        request.scope["state"]["timing"].clear()  # which they share
    return [task.result() for task in tasks]


async def in_thread(work: Work, function: Callable[[], Made]) -> Made:
    waiting = [function]  # a call that is given up stays in the pool's queue for a while: without what it holds, the body
    future = work.decoders.submit(lambda: waiting.pop()())
    try:
        return await asyncio.wrap_future(future)
    finally:
        waiting.clear()
        if not future.done():  # given up, and begun
            work.admission.hold_until_done(future)


def _declared_size(request: Request, most: int) -> int:
    """In bytes; of a body that comes in chunks nobody knows, so the most that it may have.

    Raises BodyTooLarge.
    """
    size = request.content_length
    if size is None:
        return most
    if size > most:
        raise BodyTooLarge(f"the body is larger than {most:,} bytes: it has {size:,}")
    return size


async def _read(request: Request, note: Callable[[int], None]) -> bytes:
    chunks = []
    try:
        async for chunk in request.stream():
            note(len(chunk))
            chunks.append(chunk)
    except InternalServerException:  # Litestar's word for a client that has gone
        raise MalformedRequest("the client left before the body was complete") from None
    return b"".join(chunks)


def _count(work: Work, prediction: Prediction) -> None:
    metrics, timing = work.metrics, prediction.timing_ms
    metrics.images.labels(outcome(200)).inc()
    metrics.decode_seconds.observe(timing.decode / 1000)
    metrics.queue_wait_seconds.observe(timing.queue / 1000)
    metrics.predictions.labels(prediction.label, prediction.novelty.level).inc()
    metrics.positive_probability.observe(prediction.probabilities[work.artefact.description.positive])
