"""A request's way: admission, body, decoding in a thread, the batcher, the answer."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

from litestar import Request as LitestarRequest
from litestar import get, post
from litestar.datastructures import State
from litestar.di import NamedDependency
from litestar.exceptions import InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody, Schema
from litestar.params import FromQuery
from multipart import MultipartError, MultipartSegment, PushMultipartParser, parse_options_header

from service import images
from service.artefact import Artefact
from service.batcher import Batcher
from service.classifier import Grey, Output
from service.errors import BodyTooLarge, DeadlineExceeded, MalformedRequest, RequestError, TooSlow
from service.schemas import ModelInfo, Prediction, prediction

IMAGE_FIELD = "image"
MAX_PARTS = 4

Request: TypeAlias = LitestarRequest[Any, Any, State]  # Any: nobody logs in, so there is no user and no token


class Work(NamedTuple):
    """What a prediction needs, put together by `app`."""

    artefact: Artefact
    batcher: Batcher[Grey, Output]
    decoders: ThreadPoolExecutor
    deadline_ms: int
    max_body_bytes: int


@dataclass
class PredictOperation(Operation):
    """Tells OpenAPI what the handler reads from the request itself."""

    def __post_init__(self) -> None:
        image = Schema(type="string", format="binary")  # type: ignore[arg-type]  # OpenAPI's own words
        form = Schema(type="object", properties={IMAGE_FIELD: image}, required=[IMAGE_FIELD])  # type: ignore[arg-type]
        self.request_body = RequestBody(
            description="One JPEG or PNG: a form with the field «image», or the bytes as they are",
            content={"multipart/form-data": OpenAPIMediaType(schema=form), "image/*": OpenAPIMediaType(schema=image)},
            required=True,
        )


@post("/predict", status_code=200, operation_class=PredictOperation)
async def predict(request: Request, work: NamedDependency[Work], heatmap: FromQuery[bool] = False) -> Prediction:
    """One chest X-ray in, one calibrated prediction out."""
    arrival, loop = time.perf_counter(), asyncio.get_running_loop()
    late: RequestError = TooSlow(f"the body was not complete after {work.deadline_ms} ms")
    with work.batcher.admit():
        try:
            async with asyncio.timeout(work.deadline_ms / 1000):
                body = await _read_body(request, work.max_body_bytes)
                late = DeadlineExceeded(f"no answer after {work.deadline_ms} ms")
                start = time.perf_counter()
                data = _form_image(request, body) if _is_form(request) else body
                # Not in the lanes, though they are as many: with threads of its own decoding fills the time that they leave.
                grey = await loop.run_in_executor(work.decoders, images.decode, data)
                decoded = time.perf_counter()
                answer = await work.batcher.submit(grey)
        except TimeoutError:
            raise late from None
    return prediction(
        work.artefact,
        answer,
        with_heatmap=heatmap,
        request_id=request.scope["state"]["request_id"],
        decode_ms=1000 * (decoded - start),
        total_ms=1000 * (time.perf_counter() - arrival),
    )


@get("/model-info", sync_to_thread=False)
def model_info(info: NamedDependency[ModelInfo]) -> ModelInfo:
    """What is known of the model, and what of it runs."""
    return info


async def _read_body(request: Request, max_body_bytes: int) -> bytes:
    try:
        return await request.body()
    except RequestEntityTooLarge:
        raise BodyTooLarge(f"the body is larger than {max_body_bytes:,} bytes") from None
    except InternalServerException:  # Litestar's word for a client that has gone
        raise MalformedRequest("the client left before the body was complete") from None


def _is_form(request: Request) -> bool:
    return bool(parse_options_header(request.headers.get("content-type", ""))[0] == "multipart/form-data")


def _form_image(request: Request, body: bytes) -> bytes:
    """Only here is the content type believed; names and types inside the form are not."""
    boundary = parse_options_header(request.headers["content-type"])[1].get("boundary", "")
    found: list[bytes] = []
    try:
        # Its events, since MultipartParser, built upon them, takes three times as long: it copies in pieces of 64 KB. As
        # latin-1 any byte is a character: no file name is refused, and none is used.
        with PushMultipartParser(boundary, header_charset="latin-1", max_segment_count=MAX_PARTS) as parser:
            is_image = False
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    is_image = event.name == IMAGE_FIELD
                    if is_image:
                        found.append(b"")
                elif event and is_image:
                    found[-1] += event
    except MultipartError as error:
        raise MalformedRequest(f"the form cannot be read: {error.args[0]}") from error
    if len(found) != 1:
        raise MalformedRequest(f"the form needs the field «{IMAGE_FIELD}» once, it has it {len(found)} times")
    return found[0]
