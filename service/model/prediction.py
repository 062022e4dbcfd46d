"""What the outputs of the model for one image mean: the label, its probability, and the doubts about it. Knows no HTTP."""

from typing import Literal

import msgspec
import numpy as np

from service.errors import NoAnswer
from service.images.decode import DecodedImage
from service.images.warnings import REASONS
from service.model.artefact import Artefact, Description
from service.model.classifier import Outputs

SCHEMA_VERSION = 1  # of a prediction
DISCLAIMER = "For education and research only. Not a medical device; never use it to decide about a person."


class Novelty(msgspec.Struct, frozen=True, kw_only=True):
    """How far the image lies from the training images. The answer for a `foreign` image means nothing."""

    value: float
    level: Literal["typical", "unusual", "foreign"]


class Heatmap(msgspec.Struct, frozen=True, kw_only=True):
    """Evidence for the positive label at each place of the stretched image, `values` [rows][columns] in calibrated logits.
    A value of `scale` is drawn at full strength."""

    grid: tuple[int, int]
    scale: float
    values: list[list[float]]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """Which model answered."""

    name: str
    variant: str
    sha256: str

    @classmethod
    def of(cls, artefact: Artefact) -> "Model":
        return cls(name=artefact.description.name, variant=artefact.variant, sha256=artefact.sha256)


class Prediction(msgspec.Struct, frozen=True, kw_only=True):
    """`label` is the more probable label and `confidence` its probability. `uncertain` is true where the probability of the
    positive label lies between the locked thresholds `screening` and `rule_in`. `abstain` is true where the answer should not
    be used; `reasons` says why, in codes: `uncertain`, `foreign`, and those of `images.warnings.REASONS`."""

    label: str
    confidence: float
    probabilities: dict[str, float]
    uncertain: bool
    abstain: bool
    reasons: list[str]
    novelty: Novelty
    warnings: list[str]
    heatmap: Heatmap


def interpret(description: Description, image: DecodedImage, outputs: Outputs) -> Prediction:
    """The prediction that the outputs of the graph for this image mean. Raises NoAnswer if they are not all finite."""
    if not all(np.isfinite(output).all() for output in outputs):
        raise NoAnswer("the model computed no finite numbers for this image; restart the service, or replace the model folder")
    probabilities = dict(zip(description.labels, outputs.probabilities.tolist(), strict=True))
    label = max(probabilities, key=probabilities.__getitem__)
    value = float(outputs.novelty)
    novelty = Novelty(value=value, level=description.novelty.level(value))
    heatmap = description.heatmap
    uncertain = description.thresholds.is_uncertain(probabilities[description.positive])
    doubts = {"uncertain": uncertain, "foreign": novelty.level == "foreign"}
    reasons = [
        *(doubt for doubt, holds in doubts.items() if holds),
        *(REASONS[text] for text in image.warnings if text in REASONS),
    ]
    return Prediction(
        label=label,
        confidence=probabilities[label],
        probabilities=probabilities,
        uncertain=uncertain,
        abstain=bool(reasons),
        reasons=reasons,
        novelty=novelty,
        warnings=[*image.warnings, *_warnings(description, image.age_years, novelty)],
        heatmap=Heatmap(grid=heatmap.grid, scale=heatmap.scale, values=outputs.heatmaps.tolist()),
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
