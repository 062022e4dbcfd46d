"""The addresses of the Open Inference Protocol, version 2, for KServe and Triton's clients.

https://github.com/kserve/open-inference-protocol
"""

import itertools
from typing import Annotated, NoReturn, TypeAlias

from litestar import HttpMethod, Response, Router, get, post, route
from litestar.di import NamedDependency
from litestar.handlers import HTTPRouteHandler
from litestar.params import HeaderParameter
from msgspec import Struct

from service.engine.engine import Request, TimeoutMs, Work, in_thread, predicted, received, together
from service.errors import ImageError, NotReady, Unauthorized, UnknownModel
from service.http.health import LOOKING, Lifecycle
from service.http.openapi import PROBLEMS, InferOperation, problems
from service.http.schemas import Prediction
from service.model.artefact import Artefact
from service.open_inference import response
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
    """At the address of the model, and at that of its one version, of which OpenAPI is silent."""
    path = f"/v2/models/{artefact.description.name}"
    version_path = f"{path}/versions/{response.version(artefact)}"
    return Router(path, route_handlers=handlers), Router(version_path, route_handlers=handlers, include_in_schema=False)


@get("/v2", sync_to_thread=False, responses=problems(Unauthorized))
def server_metadata(server: NamedDependency[ServerMetadata]) -> ServerMetadata:
    """Which program and version it is, and which extensions of the protocol it knows."""
    return server


@route("/v2/health/ready", http_method=LOOKING, sync_to_thread=False, responses=problems(NotReady))
def ready(lifecycle: NamedDependency[Lifecycle]) -> ServerReady:
    """As `/health/ready`."""
    lifecycle.check()
    return ServerReady(ready=True)


@route("/v2/health/live", http_method=LOOKING, sync_to_thread=False)
def live() -> ServerLive:
    """As `/health/live`."""
    return ServerLive(live=True)


@route("/ready", http_method=LOOKING, sync_to_thread=False, responses=problems(NotReady))
def model_ready(lifecycle: NamedDependency[Lifecycle], work: NamedDependency[Work]) -> ModelReady:
    """As `/health/ready`: there is one model."""
    lifecycle.check()
    return ModelReady(name=work.artefact.description.name, ready=True)


@get("/", sync_to_thread=False, responses=problems(Unauthorized))
def model_metadata(work: NamedDependency[Work]) -> ModelMetadata:
    """Its inputs, where UINT8 [N, height, width], grey pixels, is taken as well; its outputs; and its version, which may stand
    in the addresses: `/versions/…`."""
    return response.model_metadata(work.artefact)


@post("/infer", status_code=200, operation_class=InferOperation, responses=PROBLEMS)
async def infer(
    request: Request,
    work: NamedDependency[Work],
    inference_header_content_length: HeaderLength = None,
    x_request_timeout_ms: TimeoutMs = None,
) -> Response[InferenceResponse]:
    """Several chest X-rays in, tensors out. One that cannot be used fails the request, which names it."""

    async def answer(index: int, decode: Decode) -> Prediction:
        try:
            return await predicted(request, work, decode, with_heatmap="heatmaps" in asked.outputs)
        except ImageError as error:
            raise type(error)(f"images[{index}]: {error}") from error

    async with received(request, work, x_request_timeout_ms) as body:
        asked = await in_thread(work, lambda: read_request(body, inference_header_content_length, work.max_images))
        predictions = await together(request, map(answer, itertools.count(), asked.images))
    request.scope["state"]["notes"]["images"] = len(predictions)
    content, header_length = response.write(work.artefact, asked, predictions)
    if header_length is None:
        return Response(content, media_type="application/json")  # type: ignore[arg-type]  # encoded already
    headers = {HEADER_LENGTH: str(header_length)}
    return Response(content, media_type="application/octet-stream", headers=headers)  # type: ignore[arg-type]  # likewise


@route("/v2/models/{rest:path}", http_method=[HttpMethod.GET, HttpMethod.POST], sync_to_thread=False, include_in_schema=False)
def unknown_model(work: NamedDependency[Work]) -> NoReturn:
    """Whatever has no other address below /v2/models."""
    name, version = work.artefact.description.name, response.version(work.artefact)
    raise UnknownModel(
        f"there is no such model, version, or address of it; the model here is «{name}», its version «{version}»"
    )
