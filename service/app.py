"""The application: routes and their configuration. The one place where the parts meet."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from litestar import Litestar, Router
from litestar.config.compression import CompressionConfig
from litestar.config.cors import CORSConfig
from litestar.di import Provide
from litestar.exceptions import NotFoundException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, License, Reference, SecurityScheme

from service.engine.engine import Engine
from service.http import auth, pages, predict, preview, status
from service.http.express import Express
from service.http.middleware import Middleware
from service.http.problems import EXCEPTION_HANDLERS
from service.http.record import Request
from service.http.status import Lifecycle
from service.model.prediction import DISCLAIMER
from service.open_inference import routes as v2
from service.open_inference.request import HEADER_LENGTH

# What is small, requested often, or compressed already.
NOT_COMPRESSED = ["^/predict", "^/preview", "^/v2", "^/health", "^/metrics", r"\.(png|jpeg)$"]
DOCUMENT = "/schema/openapi.json"
EXPOSED = ["Retry-After", "X-Request-ID", HEADER_LENGTH]  # headers that pages of another origin may read

logger = logging.getLogger(__name__)


def create_app(engine: Engine, lifecycle: Lifecycle) -> Middleware:
    settings, folder = engine.settings, engine.artefact.folder
    of_model = {"report_files": folder / pages.REPORT, "examples": folder / pages.EXAMPLES}
    read = {"web": pages.read_files(pages.WEB, "**/*"), **{name: pages.read_files(path) for name, path in of_model.items()}}
    model_info = status.encode_model_info(engine, has_report=pages.INDEX in read["report_files"], examples=[*read["examples"]])
    parts = {"engine": engine, "info": model_info, "lifecycle": lifecycle, **read}
    public = [status.live, status.ready, pages.page, pages.page_file, pages.docs, pages.example, v2.live, v2.ready]
    guarded = [predict.predict, predict.predict_batch, status.model_info, status.read_metrics, pages.report, pages.report_file]
    guarded += [preview.preview, v2.server_metadata, v2.unknown_model]
    infer_routers = v2.of_model(engine.artefact, v2.model_metadata, v2.infer)
    cors = CORSConfig([settings.cors_origin], allow_methods=["GET", "POST"], expose_headers=EXPOSED)
    token: dict[str, SecurityScheme | Reference] = {"token": SecurityScheme("http", scheme="bearer")}
    guards = [auth.bearer(settings.token)] if settings.token else []
    app = Litestar(
        [
            *public,
            *v2.of_model(engine.artefact, v2.model_ready),
            Router("/", route_handlers=[*guarded, *infer_routers], guards=guards, security=[{"token": []}] if guards else None),
        ],
        dependencies={name: _provide(value) for name, value in parts.items()},
        exception_handlers=EXCEPTION_HANDLERS,
        lifespan=[_lifespan(engine, lifecycle)],
        logging_config=None,
        debug=False,
        request_max_body_size=None,  # `http.body` limits bodies, for the express way too
        compression_config=CompressionConfig("gzip", minimum_size=1000, exclude=NOT_COMPRESSED),
        cors_config=cors if settings.cors_origin else None,
        openapi_config=OpenAPIConfig(
            "MedXfer",
            status.VERSION,
            description=DISCLAIMER,
            license=License("Apache-2.0", identifier="Apache-2.0"),
            components=Components(security_schemes=token if guards else None),
            use_handler_docstrings=True,
            openapi_router=Router("/schema", route_handlers=[], before_request=_only_the_document, include_in_schema=False),
            render_plugins=[JsonRenderPlugin()],  # not YAML, whose rendering takes 12 ms of the event loop each time
        ),
    )
    paths = {"/predict", "/predict/batch", "/preview", *(f"{router.path}/infer" for router in infer_routers)}
    return Middleware(Express(app, engine), engine, paths, draining=lambda: lifecycle.state == "draining")


async def _only_the_document(request: Request) -> None:
    """Litestar answers other addresses below `/schema` with a page of its own."""
    if request.scope["path_template"] != DOCUMENT:
        raise NotFoundException


def _provide(value: Any) -> Provide:  # Any: of whatever type the handler declares
    return Provide(lambda: value, sync_to_thread=False)


def _lifespan(engine: Engine, lifecycle: Lifecycle) -> Any:  # Any: Litestar's type for it is private
    @asynccontextmanager
    async def lifespan(_: Litestar) -> AsyncIterator[None]:
        artefact = engine.artefact
        async with engine.running():
            lifecycle.started()
            fields = {"model": engine.settings.model, "variant": artefact.variant, "reason": engine.variant_reason}
            sizes = {"cpus": engine.cpus, "lanes": engine.lanes}
            logger.info("ready", extra={**fields, "sha256": artefact.sha256[:12], **sizes})
            yield
        logger.info("stopped")

    return lifespan
