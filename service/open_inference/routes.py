"""Routes of the Open Inference Protocol, version 2, for KServe and clients of Triton.
https://github.com/kserve/open-inference-protocol"""

import itertools
from typing import Annotated, NoReturn, TypeAlias

from litestar import HttpMethod, Response, Router, get, post, route
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import HeaderParameter
from msgspec import Struct

from service.engine.engine import Engine
from service.errors import ImageError, NotReady, Unauthorized, UnknownModel
from service.http.body import TimeoutMs, check_wait, read_body
from service.http.openapi import PROBLEMS, problems
from service.http.predict import gather, note_timing
from service.http.query import only
from service.http.record import Request, record_of
from service.http.status import PROBE_METHODS, Lifecycle
from service.model.artefact import Artefact
from service.model.prediction import Prediction
from service.open_inference import response
from service.open_inference.openapi import InferOperation
from service.open_inference.request import HEADER_LENGTH, Decode, read_request
from service.open_inference.response import InferenceResponse, ModelMetadata, ServerMetadata

HeaderLength: TypeAlias = Annotated[
    int | None, HeaderParameter(name=HEADER_LENGTH, ge=0, description="Bytes of JSON, where a tensor follows it.")
]


class ServerReady(Struct, frozen=True, kw_only=True):
    ready: bool


class ServerLive(Struct, frozen=True, kw_only=True):
    live: bool


class ModelReady(Struct, frozen=True, kw_only=True):
    name: str
    ready: bool


def of_model(artefact: Artefact, *handlers: HTTPRouteHandler) -> tuple[Router, Router]:
    """The handlers below the address of the model, and below that of its one version, which OpenAPI leaves out."""
    path = f"/v2/models/{artefact.description.name}"
    version_path = f"{path}/versions/{response.version_of(artefact)}"
    return Router(path, route_handlers=handlers), Router(version_path, route_handlers=handlers, include_in_schema=False)


@get("/v2", sync_to_thread=False, responses=problems(Unauthorized))
def server_metadata() -> ServerMetadata:
    """Name and version of the program, and the extensions of the protocol that it supports."""
    return response.SERVER


@route("/v2/health/ready", http_method=PROBE_METHODS, sync_to_thread=False, responses=problems(NotReady))
def ready(lifecycle: NamedDependency[Lifecycle]) -> ServerReady:
    """The same as `/health/ready`."""
    lifecycle.check()
    return ServerReady(ready=True)


@route("/v2/health/live", http_method=PROBE_METHODS, sync_to_thread=False)
def live() -> ServerLive:
    """The same as `/health/live`."""
    return ServerLive(live=True)


@route("/ready", http_method=PROBE_METHODS, sync_to_thread=False, responses=problems(NotReady))
def model_ready(lifecycle: NamedDependency[Lifecycle], engine: NamedDependency[Engine]) -> ModelReady:
    """The same as `/health/ready`, since there is one model."""
    lifecycle.check()
    return ModelReady(name=engine.artefact.description.name, ready=True)


@get("/", sync_to_thread=False, responses=problems(Unauthorized))
def model_metadata(engine: NamedDependency[Engine]) -> ModelMetadata:
    """The model's inputs and outputs, and its version for addresses with `/versions/…`. The input may also be
    UINT8 [N, height, width], grey pixels."""
    return response.model_metadata(engine.artefact)


@post("/infer", status_code=200, operation_class=InferOperation, responses=PROBLEMS, before_request=only())
async def infer(
    request: Request,
    engine: NamedDependency[Engine],
    inference_header_content_length: HeaderLength = None,
    x_request_timeout_ms: TimeoutMs = None,
) -> Response[InferenceResponse]:
    """Predicts several chest X-rays, as tensors. If one image cannot be used, the request fails and names it."""
    record = record_of(request.scope)

    async def answer(index: int, decode: Decode) -> Prediction:
        try:
            timed = await engine.predict(decode)
        except ImageError as error:
            raise type(error)(f"images[{index}]: {error}") from error
        note_timing(record, timed)
        return timed.prediction

    async with read_body(record, request.receive, engine, x_request_timeout_ms) as body:
        inference = await engine.decoders.call(lambda: read_request(body, inference_header_content_length, engine.max_images))
        check_wait(record, engine, x_request_timeout_ms, len(inference.images))
        predictions = await gather(record, map(answer, itertools.count(), inference.images))
    record.images = len(predictions)
    content, header_length = response.encode(engine.artefact, inference, predictions)
    if header_length is None:
        return Response(content, media_type="application/json")  # type: ignore[arg-type]  # encoded already
    headers = {HEADER_LENGTH: str(header_length)}
    return Response(content, media_type="application/octet-stream", headers=headers)  # type: ignore[arg-type]  # likewise


@route("/v2/models/{rest:path}", http_method=[HttpMethod.GET, HttpMethod.POST], sync_to_thread=False, include_in_schema=False)
def unknown_model(engine: NamedDependency[Engine]) -> NoReturn:
    """Answers every other address below `/v2/models`."""
    name, version = engine.artefact.description.name, response.version_of(engine.artefact)
    raise UnknownModel(f"there is no such model, version or address; the model here is «{name}», its version «{version}»")
