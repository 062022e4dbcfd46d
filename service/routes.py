"""A request's way: admission, body, decoding in a thread, the batcher, the answer."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Annotated, Any, NamedTuple, TypeAlias, TypeVar

from litestar import Request as LitestarRequest
from litestar import Response, get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.exceptions import InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.params import FromQuery, HeaderParameter

from service import forms, images, schemas
from service.admission import Admission
from service.artefact import Artefact
from service.batcher import Batcher
from service.classifier import Grey, Output
from service.errors import (
    BodyTooLarge,
    DeadlineExceeded,
    MalformedRequest,
    RequestError,
    TooSlow,
    Unauthorized,
    UnsupportedEncoding,
)
from service.metrics import Metrics, outcome
from service.openapi import IMAGE_FIELD, IMAGES_FIELD, PROBLEMS, BatchOperation, PredictOperation, problems
from service.schemas import ModelInfo, Prediction, Result, Results, Timing
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
    batcher: Batcher[Grey, Output]
    decoders: ThreadPoolExecutor
    metrics: Metrics
    settings: Settings


@post("/predict", status_code=200, operation_class=PredictOperation, responses=PROBLEMS)
async def predict(
    request: Request, work: NamedDependency[Work], heatmap: FromQuery[bool] = False, x_request_timeout_ms: TimeoutMs = None
) -> Prediction:
    """One chest X-ray in, one calibrated prediction out."""
    content_type = request.headers.get("content-type", "")
    async with _body(request, work, x_request_timeout_ms) as body:

        def image() -> bytes:
            return forms.images(body, content_type, IMAGE_FIELD, 1)[0] if forms.is_form(content_type) else body

        return await _predict(request, work, image, with_heatmap=heatmap)


@post("/predict/batch", status_code=200, operation_class=BatchOperation, responses=PROBLEMS)
async def predict_batch(
    request: Request, work: NamedDependency[Work], heatmap: FromQuery[bool] = False, x_request_timeout_ms: TimeoutMs = None
) -> Results:
    """Several chest X-rays in; each is answered, or refused, by itself."""
    content_type, request_id = request.headers.get("content-type", ""), request.scope["state"]["request_id"]

    async def answer(image: bytes) -> Result:
        try:
            return Result(prediction=await _predict(request, work, lambda: image, with_heatmap=heatmap))
        except RequestError as error:
            return Result(problem=schemas.problem(error, request_id))

    async with _body(request, work, x_request_timeout_ms) as body:
        most = min(work.settings.max_images, work.settings.queue_limit)
        found = await _in_thread(work, lambda: forms.images(body, content_type, IMAGES_FIELD, most))
        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(answer(image)) for image in found]
    results = [task.result() for task in answers]
    state = request.scope["state"]
    state["timing"].clear()  # which the images share
    state["notes"].update(images=len(results), refused=sum(bool(result.problem) for result in results))
    return Results(results=results, request_id=request_id)


@get("/model-info", sync_to_thread=False, responses=problems(Unauthorized))
def model_info(info: NamedDependency[bytes]) -> Response[ModelInfo]:
    """What is known of the model, and what of it runs."""
    return Response(info, media_type="application/json")  # type: ignore[arg-type]  # encoded once


@get(
    "/metrics",
    media_type="text/plain; version=0.0.4; charset=utf-8",
    sync_to_thread=False,
    responses=problems(Unauthorized),
)
def read_metrics(work: NamedDependency[Work]) -> bytes:
    """For Prometheus."""
    return work.metrics.read()


@asynccontextmanager
async def _body(request: Request, work: Work, timeout_ms: int | None) -> AsyncIterator[bytes]:
    """Within the bounds of admission, and with one deadline for the body and for what is done with it."""
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


async def _predict(request: Request, work: Work, read: Callable[[], bytes], *, with_heatmap: bool) -> Prediction:
    """`read`: makes the image's bytes, in the thread that decodes them."""
    state = request.scope["state"]
    try:
        with work.admission.image():
            start = time.perf_counter()
            # Not in the lanes, though they are as many: with threads of its own decoding fills the time that they leave.
            image = await _in_thread(work, lambda: images.decode(read()))
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


def _count(work: Work, prediction: Prediction) -> None:
    metrics, timing = work.metrics, prediction.timing_ms
    metrics.images.labels(outcome(200)).inc()
    metrics.decode_seconds.observe(timing.decode / 1000)
    metrics.queue_wait_seconds.observe(timing.queue / 1000)
    metrics.predictions.labels(prediction.label, prediction.novelty.level).inc()
    metrics.positive_probability.observe(prediction.probabilities[work.artefact.description.positive])


async def _in_thread(work: Work, function: Callable[[], Made]) -> Made:
    waiting = [function]  # a call that is given up stays in the pool's queue for a while: without what it holds, the body
    future = work.decoders.submit(lambda: waiting.pop()())
    try:
        return await asyncio.wrap_future(future)
    finally:
        waiting.clear()
        if not future.done():  # given up, and begun
            work.admission.hold_until_done(future)
