"""What the service answers."""

import re
from typing import Literal

import msgspec

from service.engine.batcher import Answer
from service.errors import RequestError
from service.images.decode import DecodedImage
from service.model.artefact import Artefact, Description
from service.model.classifier import Output

SCHEMA_VERSION = 1  # of a prediction
DISCLAIMER = "For education and research only. Not a medical device; never use it to decide about a person."


class Novelty(msgspec.Struct, frozen=True, kw_only=True):
    """How far the image lies from the training images; `foreign` answers mean nothing."""

    value: float
    level: Literal["typical", "unusual", "foreign"]


class Heatmap(msgspec.Struct, frozen=True, kw_only=True):
    """`values` [rows][columns]: evidence for the positive label at each place of the stretched image, in calibrated logits;
    `scale`: the value that is drawn at full strength."""

    grid: tuple[int, int]
    scale: float
    values: list[list[float]]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    variant: str
    sha256: str


class Timing(msgspec.Struct, frozen=True, kw_only=True):
    """Milliseconds. `inference`: of the whole batch. `total`: from the request's arrival."""

    decode: float
    queue: float
    inference: float
    total: float


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """`label`: the more probable one; `confidence`: its probability; `uncertain`: the positive label's probability lies
    between the locked thresholds of `/model-info`."""

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


class Health(msgspec.Struct, frozen=True, kw_only=True):
    status: str


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """`cpus`: that this process may use, by affinity and quota. `report`: whether the model folder has one, at `/report`."""

    variant: str
    variant_reason: str
    sha256: str
    cpus: int
    lanes: int
    limits: dict[str, int]
    report: bool
    versions: dict[str, str]


class ModelInfo(Description, frozen=True, kw_only=True):
    """The whole of model.json, and in `running` what this process made of it."""

    running: Running
    disclaimer: str


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457, `application/problem+json`. `type`: tells problems of one status apart; about:blank: the status says it.
    `error`: the detail once more, below `/v2`, where clients of the Open Inference Protocol look for it."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str = ""
    error: str = ""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """Of one image: either."""

    prediction: Prediction | msgspec.UnsetType = msgspec.UNSET
    problem: Problem | msgspec.UnsetType = msgspec.UNSET


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """`results`: one for each image, in their order."""

    schema_version: int = SCHEMA_VERSION
    results: list[Result]
    request_id: str
    disclaimer: str = DISCLAIMER


def problem(error: RequestError, request_id: str) -> Problem:
    kind = re.sub(r"(?<!^)(?=[A-Z])", "-", type(error).__name__).lower()
    return Problem(
        type=f"urn:medxfer:problem:{kind}", title=error.title, status=error.status, detail=str(error), request_id=request_id
    )


def prediction(
    artefact: Artefact, image: DecodedImage, answer: Answer[Output], *, with_heatmap: bool, request_id: str, timing: Timing
) -> Prediction:
    description, output = artefact.description, answer.result
    probabilities = dict(zip(description.labels, output.probabilities.tolist(), strict=True))
    label = max(probabilities, key=lambda name: probabilities[name])
    value = float(output.novelty)
    novelty = Novelty(value=value, level=description.novelty.level(value))
    return Prediction(
        schema_version=SCHEMA_VERSION,
        label=label,
        confidence=probabilities[label],
        probabilities=probabilities,
        uncertain=description.thresholds.is_uncertain(probabilities[description.positive]),
        novelty=novelty,
        warnings=[*image.warnings, *_warnings(description, image.age_years, novelty)],
        heatmap=_heatmap(description, output) if with_heatmap else msgspec.UNSET,
        model=Model(name=description.name, variant=artefact.variant, sha256=artefact.sha256),
        request_id=request_id,
        timing_ms=timing,
        batch_size=answer.batch_size,
        disclaimer=DISCLAIMER,
    )


def _warnings(description: Description, age: float | None, novelty: Novelty) -> list[str]:
    warnings = []
    if description.ages and age is not None and not description.ages[0] <= age <= description.ages[1]:
        youngest, oldest = description.ages
        warnings.append(f"the model learned from people of {youngest:g} to {oldest:g} years; this one's age is outside that")
    if novelty.level != "typical":
        unlike = "unlike the chest X-rays the model learned from, so its answer may mean nothing"
        warnings.append(f"the image is {novelty.level}: {unlike}")
    return warnings


def _heatmap(description: Description, output: Output) -> Heatmap:
    return Heatmap(grid=description.heatmap.grid, scale=description.heatmap.scale, values=output.heatmap.tolist())
