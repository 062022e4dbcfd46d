"""`POST /predict` and `POST /predict/batch`."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from litestar import post
from litestar.di import NamedDependency
from litestar.params import FromQuery
from litestar.types import Receive

from service.engine.engine import Engine, TimedPrediction
from service.errors import RequestError, UndecodableImage, UnsupportedImage
from service.http.body import TimeoutMs, check_wait, image_of, images_of_form, is_form, read_body
from service.http.openapi import IMAGE_FIELD, IMAGES_FIELD, PROBLEMS, BatchOperation, PredictOperation
from service.http.problems import problem_of
from service.http.query import only
from service.http.record import Request, RequestRecord, record_of
from service.http.schemas import BatchEntry, BatchResponse, PredictionResponse, respond
from service.images.decode import DecodedImage, decode_or_defer

T = TypeVar("T")


@post("/predict", status_code=200, operation_class=PredictOperation, responses=PROBLEMS, before_request=only("heatmap"))
async def predict(
    request: Request, engine: NamedDependency[Engine], heatmap: FromQuery[bool] = False, x_request_timeout_ms: TimeoutMs = None
) -> PredictionResponse:
    """Predicts one chest X-ray."""
    return await predict_one(record_of(request.scope), request.receive, engine, heatmap, x_request_timeout_ms)


async def predict_one(
    record: RequestRecord, receive: Receive, engine: Engine, heatmap: bool, timeout_ms: int | None
) -> PredictionResponse:
    content_type = record.header(b"content-type")
    async with read_body(record, receive, engine, timeout_ms) as body:
        timed = await engine.predict(lambda: decode_body(body, content_type))
        note_timing(record, timed)
        return respond(engine.artefact, timed, record, with_heatmap=heatmap)


@post("/predict/batch", status_code=200, operation_class=BatchOperation, responses=PROBLEMS, before_request=only("heatmap"))
async def predict_batch(
    request: Request, engine: NamedDependency[Engine], heatmap: FromQuery[bool] = False, x_request_timeout_ms: TimeoutMs = None
) -> BatchResponse:
    """Predicts several chest X-rays. Each is answered or refused by itself."""
    record = record_of(request.scope)
    content_type = record.header(b"content-type")

    async def answer(image: bytes) -> BatchEntry:
        try:
            timed = await engine.predict(lambda: decode_or_defer(image))
            note_timing(record, timed)
            return BatchEntry(prediction=respond(engine.artefact, timed, record, with_heatmap=heatmap))
        except RequestError as error:
            return BatchEntry(problem=problem_of(error, record.request_id))

    async with read_body(record, request.receive, engine, x_request_timeout_ms) as body:
        images = await engine.decoders.call(lambda: images_of_form(body, content_type, IMAGES_FIELD, engine.max_images))
        check_wait(record, engine, x_request_timeout_ms, len(images))
        results = await gather(record, map(answer, images))
    record.images, record.refused = len(results), sum(bool(result.problem) for result in results)
    return BatchResponse(results=results, request_id=record.request_id)


def decode_body(body: bytes, content_type: str) -> DecodedImage | Callable[[], DecodedImage]:
    """As `decode_or_defer`, of the body itself or of the image in a form. Raises MalformedRequest too."""
    try:
        return decode_or_defer(image_of(body, content_type, IMAGE_FIELD))
    except (UnsupportedImage, UndecodableImage) as error:
        raise type(error)(f"{error}{'' if is_form(content_type) else _hint(body, content_type)}") from error


def _hint(body: bytes, content_type: str) -> str:
    """What a client may have meant whose body cannot be read."""
    if body.lstrip()[:1] in (b"{", b"["):
        return "; /predict takes the bytes of an image. JSON goes to /v2, with the image as base64: see /docs"
    if body.startswith(b"data:"):
        return "; a data URL is text. Send the bytes of the image"
    if content_type.startswith("application/x-www-form-urlencoded"):
        return "; if curl -d sent it, some bytes are gone: use --data-binary, or -F image=@file"
    return ""


async def gather(record: RequestRecord, images: Iterable[Coroutine[Any, Any, T]]) -> list[T]:  # Any: as asyncio has it
    """The results of all images of one request, in order. If one fails, cancels the others and raises its error."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(image) for image in images]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    if len(tasks) > 1:
        record.timing_ms = {}  # the images overwrote each other's
    return [task.result() for task in tasks]


def note_timing(record: RequestRecord, timed: TimedPrediction) -> None:
    record.timing_ms = {"decode": timed.decode_ms, "queue": timed.queue_ms, "inference": timed.inference_ms}
