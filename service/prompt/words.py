"""A prediction as text: for a person a paragraph or a line, for a program a line of JSON."""

from collections.abc import Iterable
from itertools import chain, repeat
from pathlib import Path

import msgspec

from service.errors import RequestError
from service.images.warnings import REASONS
from service.model.artefact import Artefact, Description
from service.model.prediction import DISCLAIMER, SCHEMA_VERSION, Model, Prediction

_COLUMN = 13  # characters


def document(name: str, prediction: Prediction, artefact: Artefact, *, with_heatmap: bool) -> str:
    """JSON with the file's path and the members of an answer of `/predict` that do not depend on HTTP."""
    fields = msgspec.structs.asdict(prediction)
    if not with_heatmap:
        del fields["heatmap"]
    about = {"schema_version": SCHEMA_VERSION, "model": Model.of(artefact), "disclaimer": DISCLAIMER}
    return msgspec.json.encode({"path": name} | fields | about).decode()


def problem(name: str, error: RequestError) -> str:
    """JSON with the file's path and the problem, as in an answer of `/predict/batch`."""
    fields = {"type": error.type, "title": error.title, "detail": str(error)}
    return msgspec.json.encode({"path": name, "problem": fields}).decode()


def paragraph(name: str, prediction: Prediction, artefact: Artefact, map_file: Path | None) -> str:
    description, novelty = artefact.description, prediction.novelty
    cutoffs = f"unusual from {description.novelty.unusual:.1f}, foreign from {description.novelty.foreign:.1f}"
    others = [
        f"{label} {_probability(value)}" for label, value in prediction.probabilities.items() if label != prediction.label
    ]
    facts = {
        "label": [prediction.label],
        "probability": [f"{_probability(prediction.confidence)} ({', '.join(others)})"],
        "doubt": _doubt(prediction, description),
        "novelty": [f"{novelty.value:.1f}: {novelty.level} ({cutoffs})"],
        "warnings": _others(prediction) or ["none"],
        "model": [f"{description.name}, {artefact.variant}"],
    }
    if map_file:
        full = f"full colour is {description.heatmap.scale:.1f} logits"
        facts["heat-map"] = [f"{map_file}: orange speaks for {description.positive}, blue against it; {full}"]
    return "\n".join([printable(name), *chain.from_iterable(_rows(fact, texts) for fact, texts in facts.items())])


def line(name: str, prediction: Prediction, width: int) -> str:
    doubt = f"; do not use this answer: {', '.join(prediction.reasons)}" if prediction.abstain else ""
    warnings = "".join(f"; {warning}" for warning in _others(prediction))
    answer = f"{prediction.label} {_probability(prediction.confidence)}, {prediction.novelty.level}"
    return f"{printable(name):{width}}  {answer}{doubt}{warnings}"


def printable(name: str) -> str:
    """The name in a form that cannot steer a terminal."""
    return name if name.isprintable() else repr(name)


def _doubt(prediction: Prediction, description: Description) -> list[str]:
    """Says whether to abstain, and why."""
    limits = f"{_probability(description.thresholds.screening)} and {_probability(description.thresholds.rule_in)}"
    texts = {code: text for text, code in REASONS.items()} | {
        "uncertain": f"the probability of {description.positive} lies between the thresholds {limits}",
        "foreign": "the image is unlike the images that the model learned from",
    }
    reasons = [texts[code] for code in prediction.reasons]
    return ["do not use this answer:", *reasons] if prediction.abstain else ["none: no reason to abstain"]


def _others(prediction: Prediction) -> list[str]:
    """The warnings that no reason repeats."""
    return [text for text in prediction.warnings if text not in REASONS and not text.startswith("the image is foreign:")]


def _rows(fact: str, texts: Iterable[str]) -> Iterable[str]:
    return (f"  {head:{_COLUMN}}{text}" for head, text in zip(chain([fact], repeat("")), texts, strict=False))


def _probability(value: float) -> str:
    """Four digits, never 0 or 1, since no score is certain."""
    return "<0.0001" if value < 0.0001 else ">0.9999" if value > 0.9999 else f"{value:.4f}"
