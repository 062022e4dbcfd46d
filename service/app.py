"""The one place where the parts meet, and where errors become HTTP."""

import asyncio
import http
import logging
import platform
from collections.abc import AsyncIterator, Container
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from litestar import Litestar, Response
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, YamlRenderPlugin
from litestar.types import ASGIApp

from service import health, images, machine, routes
from service.artefact import read_folder, read_variant
from service.batcher import Batcher
from service.classifier import Classifier
from service.errors import Overloaded, RequestError
from service.health import Lifecycle
from service.routes import Request, Work
from service.schemas import DISCLAIMER, ModelInfo, Problem, Running
from service.settings import AUTO, Settings
from service.telemetry import RequestLog

VERSION = "0.1.0"
MAX_DETAIL = 300  # characters; Litestar repeats the whole query

logger = logging.getLogger(__name__)


class Choice(NamedTuple):
    variant: str
    reason: str


def choose_variant(wanted: str, offered: Container[str], int8_instructions: str | None) -> Choice:
    """int8 where the model has it and the CPU computes it exactly, else fp32; or what the operator says."""
    if wanted != AUTO:
        return Choice(wanted, "MEDXFER_VARIANT names it")
    if "int8" not in offered:
        return Choice("fp32", "the model has no int8 variant")
    if int8_instructions is None:
        return Choice("fp32", "this CPU has no instructions that multiply int8 exactly")
    return Choice("int8", f"this CPU has {int8_instructions}")


def create_app(settings: Settings, lifecycle: Lifecycle) -> ASGIApp:
    """Verify, load, warm up and self-test the model; answer requests once the server starts the lanes.

    Raises ArtefactError: the model folder cannot be trusted.
    """
    folder = read_folder(Path(settings.model))
    choice = choose_variant(settings.variant, folder.description.variants, machine.int8_instructions())
    artefact = read_variant(folder, choice.variant)
    classifier = Classifier(artefact)
    classifier.warm_up(settings.max_batch_size)
    classifier.self_test()
    cpus = machine.available_cpus()
    lanes = settings.lanes or cpus
    batcher = Batcher(
        classifier.classify_each, lanes=lanes, max_batch_size=settings.max_batch_size, queue_limit=settings.queue_limit
    )
    decoders = ThreadPoolExecutor(lanes, thread_name_prefix="decoder")
    work = Work(artefact, batcher, decoders, settings.deadline_ms, settings.max_body_bytes)
    running = Running(
        variant=artefact.variant,
        variant_reason=choice.reason,
        sha256=artefact.sha256,
        cpus=cpus,
        lanes=lanes,
        limits=_limits(settings),
        versions=_versions(),
    )
    info = ModelInfo(**msgspec.structs.asdict(artefact.description), running=running, disclaimer=DISCLAIMER)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        batcher.open()
        lifecycle.state = "ready"
        logger.info(
            'ready model=%s variant=%s reason="%s" sha256=%s cpus=%d lanes=%d',
            settings.model,
            artefact.variant,
            choice.reason,
            artefact.sha256[:12],
            cpus,
            lanes,
        )
        yield
        await asyncio.to_thread(batcher.close)
        decoders.shutdown(wait=False, cancel_futures=True)  # nobody waits any more for what they still do
        logger.info("stopped")

    app = Litestar(
        [health.live, health.ready, routes.model_info, routes.predict],
        dependencies={
            "info": Provide(lambda: info, sync_to_thread=False),
            "lifecycle": Provide(lambda: lifecycle, sync_to_thread=False),
            "work": Provide(lambda: work, sync_to_thread=False),
        },
        exception_handlers={RequestError: _refused, HTTPException: _refused_by_litestar, Exception: _failed},
        lifespan=[lifespan],
        logging_config=None,
        debug=False,
        request_max_body_size=settings.max_body_bytes,
        openapi_config=OpenAPIConfig(
            "MedXfer", VERSION, description=DISCLAIMER, render_plugins=[JsonRenderPlugin(), YamlRenderPlugin()]
        ),
    )
    return RequestLog(app, draining=lambda: lifecycle.state == "draining")


def _refused(request: Request, error: RequestError) -> Response[Problem]:
    headers = {"Retry-After": str(error.retry_after_seconds)} if isinstance(error, Overloaded) else {}
    return _problem(request, error.status, error.title, str(error), headers=headers)


def _refused_by_litestar(request: Request, error: HTTPException) -> Response[Problem]:
    title = http.HTTPStatus(error.status_code).phrase
    return _problem(
        request, error.status_code, title, error.detail[:MAX_DETAIL], extra=error.extra, headers=error.headers or {}
    )


def _failed(request: Request, error: Exception) -> Response[Problem]:
    logger.error("failed id=%s", _request_id(request), exc_info=error)
    return _problem(request, 500, "Internal error", "the service failed; its log has the reason under this request_id")


def _problem(
    request: Request, status: int, title: str, detail: str, *, extra: Any = None, headers: dict[str, str] | None = None
) -> Response[Problem]:
    problem = Problem(title=title, status=status, detail=detail, request_id=_request_id(request), extra=extra)
    return Response(problem, status_code=status, media_type="application/problem+json", headers=headers)


def _request_id(request: Request) -> str:
    return str(request.scope["state"].get("request_id", ""))


def _limits(settings: Settings) -> dict[str, int]:
    return {
        "max_body_bytes": settings.max_body_bytes,
        "min_side_px": images.MIN_SIDE,
        "max_side_px": images.MAX_SIDE,
        "max_pixels": images.MAX_PIXELS,
        "max_aspect": images.MAX_ASPECT,
        "max_batch_size": settings.max_batch_size,
        "queue_limit": settings.queue_limit,
        "deadline_ms": settings.deadline_ms,
    }


def _versions() -> dict[str, str]:
    libraries = {name: version(name) for name in ("litestar", "uvicorn", "onnxruntime", "numpy", "pillow")}
    return {"medxfer": VERSION, "python": platform.python_version(), **libraries}
