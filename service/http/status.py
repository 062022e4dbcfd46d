"""What the service tells about itself: whether it is alive and ready (`/health`), `/model-info` and `/metrics`."""

import platform
from importlib.metadata import version
from typing import Literal

import msgspec
from litestar import HttpMethod, Response, get, route
from litestar.di import NamedDependency

from service.engine.engine import Engine
from service.errors import NotReady, Unauthorized
from service.http.openapi import problems
from service.http.schemas import Health, ModelInfo, Running
from service.images import limits
from service.model.prediction import DISCLAIMER

VERSION = "0.1.0"
LIBRARIES = ("litestar", "uvicorn", "onnxruntime", "numpy", "pillow", "pydicom")
PROBE_METHODS = [HttpMethod.GET, HttpMethod.HEAD]  # monitors and balancers use either


class Lifecycle:
    """`app` says when the lanes have started, and `server` when a signal comes, which may be earlier."""

    state: Literal["starting", "ready", "draining"] = "starting"

    def started(self) -> None:
        if self.state == "starting":
            self.state = "ready"

    def check(self) -> None:
        """Raises NotReady unless the service is ready."""
        if self.state != "ready":
            raise NotReady(f"the service is {self.state}")


@route(["/health", "/health/ready"], http_method=PROBE_METHODS, sync_to_thread=False, responses=problems(NotReady))
def ready(lifecycle: NamedDependency[Lifecycle]) -> Health:
    """Answers 200 once the model is verified, warm and self-tested; 503 with the reason otherwise."""
    lifecycle.check()
    return Health(status="ready")


@route("/health/live", http_method=PROBE_METHODS, sync_to_thread=False)
def live() -> Health:
    """Answers 200 as long as the event loop runs, whatever the load."""
    return Health(status="live")


@get("/model-info", sync_to_thread=False, responses=problems(Unauthorized))
def model_info(info: NamedDependency[bytes]) -> Response[ModelInfo]:
    """The model's description, figures and limits, and what runs of it here."""
    return Response(info, media_type="application/json")  # type: ignore[arg-type]  # encoded once


@get("/metrics", media_type="text/plain; version=0.0.4; charset=utf-8", sync_to_thread=False, responses=problems(Unauthorized))
def read_metrics(engine: NamedDependency[Engine]) -> bytes:
    """Metrics for Prometheus."""
    return engine.metrics.read()


def encode_model_info(engine: Engine, *, has_report: bool, examples: list[str]) -> bytes:
    artefact, settings = engine.artefact, engine.settings
    named = ("max_body_bytes", "max_batch_size", "queue_limit", "queue_bytes", "deadline_ms")
    running = Running(
        variant=artefact.variant,
        variant_reason=engine.variant_reason,
        sha256=artefact.sha256,
        cpus=engine.cpus,
        processes=engine.processes,
        lanes=engine.lanes,
        limits=limits.OF_IMAGES | {name: getattr(settings, name) for name in named} | {"max_images": engine.max_images},
        report=has_report,
        examples=examples,
        versions={"medxfer": VERSION, "python": platform.python_version(), **{name: version(name) for name in LIBRARIES}},
    )
    description = msgspec.structs.asdict(artefact.description)
    return msgspec.json.encode(ModelInfo(**description, running=running, disclaimer=DISCLAIMER))
