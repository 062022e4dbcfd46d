"""The application: routes and their configuration. The one place where the parts meet."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Router
from litestar.config.compression import CompressionConfig
from litestar.config.cors import CORSConfig
from litestar.di import Provide
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, License, Reference, SecurityScheme

from service.engine.engine import Engine
from service.http import auth, health, info, pages, predict
from service.http.health import Lifecycle
from service.http.info import VERSION
from service.http.load_shedding import LoadShedding
from service.http.middleware import Middleware
from service.http.problems import EXCEPTION_HANDLERS
from service.model.prediction import DISCLAIMER
from service.open_inference import routes as v2
from service.open_inference.request import HEADER_LENGTH
from service.settings import Settings

# What is small, requested often, or compressed already.
NOT_COMPRESSED = ["^/predict", "^/v2", "^/health", "^/metrics", r"\.png$"]

logger = logging.getLogger(__name__)


def create_app(settings: Settings, lifecycle: Lifecycle) -> Middleware:
    """Loads the model and builds the application. The lanes start with the server.

    Raises ArtefactError if the model folder cannot be trusted.
    """
    engine = Engine.load(settings)
    web, report_files = pages.read_files(pages.WEB), pages.read_files(engine.artefact.folder / pages.REPORT)
    model_info = info.encode_model_info(engine, has_report=pages.INDEX in report_files)
    public = [health.live, health.ready, pages.page, pages.page_file, v2.live, v2.ready]
    guarded = [predict.predict, predict.predict_batch, info.model_info, info.read_metrics, pages.report, pages.report_file]
    guarded += [v2.server_metadata, v2.unknown_model]
    infer_routers = v2.of_model(engine.artefact, v2.model_metadata, v2.infer)
    guards = [auth.bearer(settings.token)] if settings.token else []
    app = Litestar(
        [
            *public,
            *v2.of_model(engine.artefact, v2.model_ready),
            Router("/", route_handlers=[*guarded, *infer_routers], guards=guards, security=[{"token": []}] if guards else None),
        ],
        dependencies={
            "engine": _provide(engine),
            "info": _provide(model_info),
            "lifecycle": _provide(lifecycle),
            "report_files": _provide(report_files),
            "web": _provide(web),
        },
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[_lifespan(engine, lifecycle)],
        logging_config=None,
        debug=False,
        request_max_body_size=settings.max_body_bytes,
        compression_config=CompressionConfig("gzip", minimum_size=1000, exclude=NOT_COMPRESSED),
        cors_config=_cors(settings.cors_origin) if settings.cors_origin else None,
        openapi_config=_openapi(with_token=bool(guards)),
    )
    paths = {"/predict", "/predict/batch", *(f"{router.path}/infer" for router in infer_routers)}
    shedding = LoadShedding(app, engine.admission, paths)
    return Middleware(shedding, engine.metrics, draining=lambda: lifecycle.state == "draining")


def _provide(value: Any) -> Provide:  # Any: of whatever type the handler declares
    return Provide(lambda: value, sync_to_thread=False)


def _lifespan(engine: Engine, lifecycle: Lifecycle) -> Any:  # Any: Litestar's type for it is private
    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        artefact = engine.artefact
        async with engine.running():
            lifecycle.state = "ready"
            fields = {"model": engine.settings.model, "variant": artefact.variant, "reason": engine.variant_reason}
            sizes = {"cpus": engine.cpus, "lanes": engine.lanes}
            logger.info("ready", extra={**fields, "sha256": artefact.sha256[:12], **sizes})
            yield
        logger.info("stopped")

    return lifespan


def _cors(origin: str) -> CORSConfig:
    exposed = ["Retry-After", "X-Request-ID", HEADER_LENGTH]
    return CORSConfig(allow_origins=[origin], allow_methods=["GET", "POST"], expose_headers=exposed)


def _openapi(*, with_token: bool) -> OpenAPIConfig:
    token: dict[str, SecurityScheme | Reference] = {"token": SecurityScheme("http", scheme="bearer")}
    return OpenAPIConfig(
        "MedXfer",
        VERSION,
        description=DISCLAIMER,
        license=License("Apache-2.0", identifier="Apache-2.0"),
        components=Components(security_schemes=token if with_token else None),
        use_handler_docstrings=True,
        render_plugins=[JsonRenderPlugin()],  # not YAML, whose rendering takes 12 ms of the event loop each time
    )
