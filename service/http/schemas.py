"""The bodies of HTTP answers."""

import msgspec

from service.engine.engine import TimedPrediction
from service.http.problems import Problem
from service.http.record import RequestRecord
from service.model.artefact import Artefact, Description
from service.model.prediction import DISCLAIMER, SCHEMA_VERSION, Heatmap, Model, Prediction


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds. `inference` is that of the whole batch; `total` counts from the arrival of the request."""

    decode: float
    queue: float
    inference: float
    total: float


class PredictionResponse(Prediction, frozen=True, kw_only=True):
    """A prediction, and how it came about. The heat-map is there if the request asked for it."""

    heatmap: Heatmap | msgspec.UnsetType = msgspec.UNSET  # type: ignore[assignment]  # Prediction always has one
    schema_version: int
    model: Model
    request_id: str
    timing_ms: Timing
    batch_size: int
    disclaimer: str


class BatchEntry(msgspec.Struct, frozen=True, kw_only=True):
    """Exactly one of `prediction` and `problem` is set."""

    prediction: PredictionResponse | msgspec.UnsetType = msgspec.UNSET
    problem: Problem | msgspec.UnsetType = msgspec.UNSET


class BatchResponse(msgspec.Struct, frozen=True, kw_only=True):
    """`results` has one entry for each image, in the order of the request."""

    schema_version: int = SCHEMA_VERSION
    results: list[BatchEntry]
    request_id: str
    disclaimer: str = DISCLAIMER


class Health(msgspec.Struct, frozen=True, kw_only=True):
    status: str


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """What runs here: `processes`, with so many `lanes` each, share the `cpus` they may use. `report` tells whether the model
    has one, at `/report`; `examples` names its synthetic X-rays, at `/examples/…`, of which `metrics.examples` tells more."""

    variant: str
    variant_reason: str
    sha256: str
    cpus: int
    processes: int
    lanes: int
    limits: dict[str, int]
    report: bool
    examples: list[str]
    versions: dict[str, str]


class ModelInfo(Description, frozen=True, kw_only=True):
    """The whole of model.json, and in `running` what this process runs of it."""

    running: Running
    disclaimer: str


def respond(artefact: Artefact, timed: TimedPrediction, record: RequestRecord, *, with_heatmap: bool) -> PredictionResponse:
    timing = {"decode": timed.decode_ms, "queue": timed.queue_ms, "inference": timed.inference_ms, "total": record.elapsed_ms()}
    fields = msgspec.structs.asdict(timed.prediction) | ({} if with_heatmap else {"heatmap": msgspec.UNSET})
    return PredictionResponse(
        **fields,
        schema_version=SCHEMA_VERSION,
        model=Model.of(artefact),
        request_id=record.request_id,
        timing_ms=Timing(**{name: round(value, 3) for name, value in timing.items()}),
        batch_size=timed.batch_size,
        disclaimer=DISCLAIMER,
    )
