"""Finds the zone of uncertainty, and says what it can show.

Few images must not look surer than many. A bound is a promise about all images of a label, and the fewer were seen, the less
can be promised, however well they were separated. So where even a label without an error could not show the target, the edge
moves out: an answer must then have the target as its own probability, or, where not even FLOOR could be shown, there is no
certain answer on that side at all."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from service.model.artefact import Thresholds
from training.report import metrics
from training.report.bootstrap import Bools, Floats

FLOOR = 0.9  # 29 images without an error show it
ROUNDING = 1e-6  # keeps the image at an edge on its side of it in the graph's float32


def find(truth: Bools, probability: Floats, target: float) -> tuple[Thresholds, dict[str, Any]]:
    """The zone, and how it was found.

    `screening` is the largest threshold ≤ 0.5 whose one-sided 95 % lower bound of sensitivity is at least `target`; `rule_in`
    is the smallest ≥ 0.5 with the same for specificity. If the images are too few to show `target` even without an error,
    `reached` is false, and the edge is the one without an error, but no nearer to 0.5 than a probability of `target` for the
    answer; if they are too few to show FLOOR, it is 0 or 1, and every such answer is uncertain."""
    screening, sensitivity = _edge(probability[truth], target)
    below, specificity = _edge(1 - probability[~truth], target)
    found = {"target": target, "sensitivity": sensitivity, "specificity": specificity}
    return Thresholds(screening=screening, balanced=0.5, rule_in=1 - below), found


def sentence(thresholds: Thresholds, positive: str) -> str:
    """Which predictions are uncertain."""
    if not thresholds.has_zone:
        return "No prediction is uncertain: the zone of uncertainty is empty."
    between = f"between {thresholds.screening:.4f} and {thresholds.rule_in:.4f}"
    return f"A prediction is uncertain if the probability of {positive} lies {between}."


def warnings(found: Mapping[str, Any], thresholds: Thresholds, negative: str, positive: str) -> list[str]:
    """A sentence for each label with too few images to show the target. `found`: as `find` returns it."""
    edges = {
        "sensitivity": (positive, negative, thresholds.screening),
        "specificity": (negative, positive, 1 - thresholds.rule_in),
    }
    sentences = []
    for rate, (label, answer, edge) in edges.items():
        if not found[rate]["reached"]:
            images, target = found[rate]["images"], found["target"]
            shown, needed = metrics.lower_bound(images, images), math.ceil(math.log(0.05) / math.log(target))
            few = f"{images} images of {label} are too few to show {target:g}: without an error they show {shown:.2f}"
            unless = f" unless its probability is at least {1 - edge:.3f}" if edge else ""
            sentences.append(f"{few}; {needed} are needed. So every answer {answer} is uncertain{unless}.")
    return sentences


def _edge(confidence: Floats, target: float) -> tuple[float, dict[str, Any]]:
    """The largest edge ≤ 0.5 with few enough errors below it. `confidence` [N]: probability of the true label."""
    images = len(confidence)
    allowed = sum(metrics.lower_bound(images - errors, images) >= target for errors in range(images))
    errors_at_half = int((confidence < 0.5).sum())
    tolerated = max(allowed - 1, 0)
    edge = 0.5 if errors_at_half <= tolerated else max(0.0, float(np.sort(confidence)[tolerated]) - ROUNDING)
    if not allowed:
        edge = min(edge, 1 - target) if metrics.lower_bound(images, images) >= FLOOR else 0.0
    errors = int((confidence < edge).sum())
    bound = metrics.lower_bound(images - errors, images)
    return edge, {"images": images, "errors": errors, "lower_bound": bound, "reached": bound >= target}
