"""The one place where the parts meet, and where errors become HTTP."""

import asyncio
import http
import logging
import platform
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import version
from pathlib import Path

import msgspec
from litestar import Litestar, Response, Router
from litestar.config.compression import CompressionConfig
from litestar.config.cors import CORSConfig
from litestar.di import Provide
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, License, SecurityScheme

from service import machine
from service.engine.admission import Admission
from service.engine.batcher import Batcher
from service.engine.engine import Request, Work
from service.engine.watchdog import Watchdog
from service.errors import Overloaded, RequestError, Unauthorized
from service.http import auth, health, pages, predict, problems, schemas
from service.http.health import Lifecycle
from service.http.load_shedding import Gate
from service.http.middleware import Telemetry
from service.http.schemas import DISCLAIMER, ModelInfo, Problem, Running
from service.images import limits
from service.images.decode import warm_up_decoders
from service.metrics import Metrics
from service.model.artefact import read_folder, read_variant
from service.model.classifier import Classifier, GreyImage, Output
from service.model.variant import choose_variant
from service.open_inference import response, routes
from service.open_inference.request import HEADER_LENGTH
from service.settings import Settings

VERSION = "0.1.0"
MAX_DETAIL = 300  # characters; Litestar repeats the whole query
NOT_COMPRESSED = ["^/predict", "^/v2", "^/health", "^/metrics", r"\.png$"]  # what is small, asked for often, or is so already
BEAT_SECONDS = 0.5  # more often than the watchdog looks

logger = logging.getLogger(__name__)


def create_app(settings: Settings, lifecycle: Lifecycle) -> Telemetry:
    """Verify, load, warm up and self-test the model; answer requests once the server starts the lanes.

    Raises ArtefactError: the model folder cannot be trusted.
    """
    folder = read_folder(Path(settings.model))
    choice = choose_variant(settings.variant, folder.description.variants, machine.int8_instructions())
    artefact = read_variant(folder, choice.variant)
    classifier = Classifier(artefact)
    warm_up_decoders()
    classifier.warm_up(settings.max_batch_size)
    classifier.self_test()
    cpus = machine.available_cpus()
    lanes = settings.lanes or cpus
    metrics = Metrics()
    batcher = Batcher(metrics.timed(classifier.classify_each), lanes=lanes, max_batch_size=settings.max_batch_size)
    admission = Admission(max_images=settings.queue_limit, max_bytes=settings.queue_bytes)
    decoders = ThreadPoolExecutor(lanes, thread_name_prefix="decoder")
    work = Work(artefact, admission, batcher, decoders, metrics, settings)
    metrics.model(name=artefact.description.name, variant=artefact.variant, sha256=artefact.sha256)
    metrics.gauge("lanes", "Threads that infer", lambda: lanes)
    metrics.gauge("in_flight_images", "Images in work", lambda: admission.images)
    metrics.gauge("in_flight_bytes", "Bytes of bodies that arrive or are in work", lambda: admission.bytes)
    metrics.gauge("queue_depth_images", "Images that wait for a lane", lambda: batcher.waiting)
    web, report_files = pages.read_files(pages.WEB), pages.read_files(artefact.folder / pages.REPORT)
    running = Running(
        variant=artefact.variant,
        variant_reason=choice.reason,
        sha256=artefact.sha256,
        cpus=cpus,
        lanes=lanes,
        limits=_limits(settings),
        report=pages.INDEX in report_files,
        versions=_versions(),
    )
    info = ModelInfo(**msgspec.structs.asdict(artefact.description), running=running, disclaimer=DISCLAIMER)
    info_json = msgspec.json.encode(info)
    server = response.server_metadata(VERSION)

    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        batcher.open()
        with _watched(batcher, settings.watchdog_seconds):
            lifecycle.state = "ready"
            logger.info(
                "ready",
                extra={
                    "model": settings.model,
                    "variant": artefact.variant,
                    "reason": choice.reason,
                    "sha256": artefact.sha256[:12],
                    "cpus": cpus,
                    "lanes": lanes,
                },
            )
            yield
            await asyncio.to_thread(batcher.close)
        decoders.shutdown(wait=False, cancel_futures=True)  # nobody waits any more for what they still do
        logger.info("stopped")

    guards = [auth.bearer(settings.token)] if settings.token else []
    security = [{"token": list[str]()}] if settings.token else None
    asked = [predict.model_info, predict.predict, predict.predict_batch, predict.read_metrics, pages.report, pages.report_file]
    of_model = routes.of_model(artefact, routes.model_metadata, routes.infer)
    of_server = [routes.server_metadata, routes.unknown_model]
    app = Litestar(
        [
            health.live,
            health.ready,
            pages.page,
            pages.page_file,
            routes.live,
            routes.ready,
            *routes.of_model(artefact, routes.model_ready),
            Router("/", route_handlers=[*asked, *of_server, *of_model], guards=guards, security=security),
        ],
        dependencies={
            "info": Provide(lambda: info_json, sync_to_thread=False),
            "lifecycle": Provide(lambda: lifecycle, sync_to_thread=False),
            "report_files": Provide(lambda: report_files, sync_to_thread=False),
            "server": Provide(lambda: server, sync_to_thread=False),
            "web": Provide(lambda: web, sync_to_thread=False),
            "work": Provide(lambda: work, sync_to_thread=False),
        },
        exception_handlers={RequestError: _refused, HTTPException: _refused_by_litestar, Exception: _failed},
        lifespan=[lifespan],
        logging_config=None,
        debug=False,
        request_max_body_size=settings.max_body_bytes,
        compression_config=CompressionConfig("gzip", minimum_size=1000, exclude=NOT_COMPRESSED),
        cors_config=CORSConfig(
            allow_origins=[settings.cors_origin],
            allow_methods=["GET", "POST"],
            expose_headers=["Retry-After", "X-Request-ID", HEADER_LENGTH],
        )
        if settings.cors_origin
        else None,
        openapi_config=OpenAPIConfig(
            "MedXfer",
            VERSION,
            description=DISCLAIMER,
            license=License("Apache-2.0", identifier="Apache-2.0"),
            components=Components(
                security_schemes={"token": SecurityScheme("http", scheme="bearer")} if settings.token else None
            ),
            use_handler_docstrings=True,
            render_plugins=[JsonRenderPlugin()],  # not YAML, which takes 12 ms each time
        ),
    )
    infer_paths = {f"{router.path}/infer" for router in of_model}
    gate = Gate(app, admission, paths={"/predict", "/predict/batch"} | infer_paths)
    return Telemetry(gate, metrics, draining=lambda: lifecycle.state == "draining")


@contextmanager
def _watched(batcher: Batcher[GreyImage, Output], seconds: int) -> Iterator[None]:
    """By a watchdog, the lanes and the event loop."""
    beat = 1

    async def turn() -> None:
        nonlocal beat
        while True:
            beat += 1
            await asyncio.sleep(BEAT_SECONDS)

    turning = asyncio.create_task(turn())
    watchdog = Watchdog(lambda: {"event loop": beat, **batcher.runs()}, seconds)
    watchdog.start()
    try:
        yield
    finally:
        watchdog.stop()
        turning.cancel()


def _refused(request: Request, error: RequestError) -> Response[Problem]:
    headers = {}
    if isinstance(error, Overloaded):
        headers["Retry-After"] = str(error.retry_after_seconds)
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return _answer(request, schemas.problem(error, _request_id(request)), headers)


def _refused_by_litestar(request: Request, error: HTTPException) -> Response[Problem]:
    title = http.HTTPStatus(error.status_code).phrase
    problem = Problem(title=title, status=error.status_code, detail=_detail(request, error), request_id=_request_id(request))
    return _answer(request, problem, error.headers)


def _detail(request: Request, error: HTTPException) -> str:
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 404:
        return "there is no such address; /schema/openapi.json lists them"
    if error.status_code == 405:
        return f"not by {request.method[:10]}; this address takes {headers.get('allow', 'other methods')}"
    if isinstance(error.extra, list) and error.extra and isinstance(wrong := error.extra[0], dict):
        name, in_header = str(wrong.get("key")), wrong.get("source") == "header"
        name = name.replace("_", "-") if in_header else name
        value = request.headers.get(name) if in_header else request.query_params.get(name)
        return f"{name} is {str(value)[:40]!r}: {wrong['message']}"
    return error.detail[:MAX_DETAIL]


def _failed(request: Request, error: Exception) -> Response[Problem]:
    request_id = _request_id(request)
    logger.error("failed", exc_info=error, extra={"request_id": request_id})
    detail = "the service failed; its log has the reason under this request_id"
    return _answer(request, Problem(title="Internal error", status=500, detail=detail, request_id=request_id))


def _answer(request: Request, problem: Problem, headers: dict[str, str] | None = None) -> Response[Problem]:
    request.scope["state"]["notes"]["problem"] = problem.title
    problem = problems.for_path(problem, request.scope["path"])
    return Response(problem, status_code=problem.status, media_type="application/problem+json", headers=headers)


def _request_id(request: Request) -> str:
    return str(request.scope["state"].get("request_id", ""))


def _limits(settings: Settings) -> dict[str, int]:
    return {
        "max_body_bytes": settings.max_body_bytes,
        "min_side_px": limits.MIN_SIDE,
        "max_side_px": limits.MAX_SIDE,
        "max_pixels": limits.MAX_PIXELS,
        "max_aspect": limits.MAX_ASPECT,
        "max_batch_size": settings.max_batch_size,
        "max_images": min(settings.max_images, settings.queue_limit),
        "queue_limit": settings.queue_limit,
        "queue_bytes": settings.queue_bytes,
        "deadline_ms": settings.deadline_ms,
    }


def _versions() -> dict[str, str]:
    libraries = {name: version(name) for name in ("litestar", "uvicorn", "onnxruntime", "numpy", "pillow", "pydicom")}
    return {"medxfer": VERSION, "python": platform.python_version(), **libraries}
