"""`GET /model-info` and `GET /metrics`."""

import platform
from importlib.metadata import version

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from service.engine.engine import Engine
from service.errors import Unauthorized
from service.http.openapi import problems
from service.http.schemas import ModelInfo, Running
from service.images import limits
from service.model.prediction import DISCLAIMER
from service.settings import Settings

VERSION = "0.1.0"
LIBRARIES = ("litestar", "uvicorn", "onnxruntime", "numpy", "pillow", "pydicom")


@get("/model-info", sync_to_thread=False, responses=problems(Unauthorized))
def model_info(info: NamedDependency[bytes]) -> Response[ModelInfo]:
    """The model's description, figures and limits, and what runs of it here."""
    return Response(info, media_type="application/json")  # type: ignore[arg-type]  # encoded once


@get(
    "/metrics",
    media_type="text/plain; version=0.0.4; charset=utf-8",
    sync_to_thread=False,
    responses=problems(Unauthorized),
)
def read_metrics(engine: NamedDependency[Engine]) -> bytes:
    """Metrics for Prometheus."""
    return engine.metrics.read()


def encode_model_info(engine: Engine, *, has_report: bool) -> bytes:
    artefact = engine.artefact
    running = Running(
        variant=artefact.variant,
        variant_reason=engine.variant_reason,
        sha256=artefact.sha256,
        cpus=engine.cpus,
        lanes=engine.lanes,
        limits=_limits(engine.settings, engine.max_images),
        report=has_report,
        versions={"medxfer": VERSION, "python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    )
    description = msgspec.structs.asdict(artefact.description)
    return msgspec.json.encode(ModelInfo(**description, running=running, disclaimer=DISCLAIMER))


def _limits(settings: Settings, max_images: int) -> dict[str, int]:
    return {
        "max_body_bytes": settings.max_body_bytes,
        "min_side_px": limits.MIN_SIDE,
        "max_side_px": limits.MAX_SIDE,
        "max_pixels": limits.MAX_PIXELS,
        "max_aspect": limits.MAX_ASPECT,
        "max_batch_size": settings.max_batch_size,
        "max_images": max_images,
        "queue_limit": settings.queue_limit,
        "queue_bytes": settings.queue_bytes,
        "deadline_ms": settings.deadline_ms,
    }
