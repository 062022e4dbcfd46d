"""The bodies of HTTP answers."""

import msgspec

from service.engine.engine import TimedPrediction
from service.http.problems import Problem
from service.http.record import RequestRecord
from service.model.artefact import Artefact, Description
from service.model.prediction import DISCLAIMER, Heatmap, Novelty

SCHEMA_VERSION = 1  # of a prediction


class Model(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    variant: str
    sha256: str


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds. `inference` is that of the whole batch; `total` counts from the arrival of the request."""

    decode: float
    queue: float
    inference: float
    total: float


class PredictionResponse(msgspec.Struct, frozen=True, kw_only=True):
    """`label` is the more probable label and `confidence` its probability. `uncertain` is true where the probability of the
    positive label lies between the locked thresholds of `/model-info`."""

    schema_version: int
    label: str
    confidence: float
    probabilities: dict[str, float]
    uncertain: bool
    novelty: Novelty
    warnings: list[str]
    heatmap: Heatmap | msgspec.UnsetType = msgspec.UNSET
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
    """What this process runs. `cpus` counts the CPUs that it may use, by affinity and quota; `report` tells whether the model
    folder has a report, at `/report`."""

    variant: str
    variant_reason: str
    sha256: str
    cpus: int
    lanes: int
    limits: dict[str, int]
    report: bool
    versions: dict[str, str]


class ModelInfo(Description, frozen=True, kw_only=True):
    """The whole of model.json, and in `running` what this process runs of it."""

    running: Running
    disclaimer: str


def prediction_response(
    artefact: Artefact, timed: TimedPrediction, record: RequestRecord, *, with_heatmap: bool
) -> PredictionResponse:
    fields = msgspec.structs.asdict(timed.prediction) | ({} if with_heatmap else {"heatmap": msgspec.UNSET})
    return PredictionResponse(
        **fields,
        schema_version=SCHEMA_VERSION,
        model=Model(name=artefact.description.name, variant=artefact.variant, sha256=artefact.sha256),
        request_id=record.request_id,
        timing_ms=Timing(
            decode=round(timed.decode_ms, 3),
            queue=round(timed.queue_ms, 3),
            inference=round(timed.inference_ms, 3),
            total=round(record.elapsed_ms(), 3),
        ),
        batch_size=timed.batch_size,
        disclaimer=DISCLAIMER,
    )
