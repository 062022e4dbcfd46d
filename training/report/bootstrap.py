"""How far chance goes: figures of many draws of the patients, with replacement (Efron 1979), and their intervals.

`truth` is bool [N] (positive or not), `probability` float [N], of the positive label; `patients` says whose image each is,
and images of one patient are drawn together, since they are alike.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

BOOTSTRAPS = 1000


def interval(draws: Floats) -> list[float]:
    return [float(value) for value in np.nanquantile(draws, [0.025, 0.975])]


class Curve(NamedTuple):
    """Over all thresholds, falling: [B, K] false and true positive rates of B draws, or [1, K] of the images themselves."""

    false_positives: Floats
    true_positives: Floats


class Bootstrap:
    """B draws of as many patients as there are, with replacement; every figure of a draw from weighted images, at once."""

    def __init__(self, truth: Bools, probability: Floats, patients: Sequence[str], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        _, owner = np.unique(np.array(patients), return_inverse=True)
        people = int(owner.max()) + 1
        times = rng.multinomial(people, np.full(people, 1 / people), BOOTSTRAPS)
        self.truth, self.probability = truth, probability
        self.weight = times[:, owner].astype(np.float64)  # [B, N]
        self.total = self.weight.sum(1)
        self.positives = self.weight @ truth

    def rates(self, threshold: float) -> tuple[Floats, Floats]:
        """Sensitivity and specificity [B]; NaN where a draw has no image of the label."""
        called = self.probability >= threshold
        with np.errstate(invalid="ignore"):
            sensitivity = self.weight @ (self.truth & called) / self.positives
            specificity = self.weight @ (~self.truth & ~called) / (self.total - self.positives)
        return sensitivity, specificity

    def curve(self) -> Curve:
        return curve(self.truth, self.probability, self.weight)

    def auroc(self) -> Floats:
        """[B]; NaN where a draw has one label alone."""
        return area(self.curve())


def area(curve: Curve) -> Floats:
    return np.asarray(np.trapezoid(curve.true_positives, curve.false_positives, axis=1))


def curve(truth: Bools, probability: Floats, weight: Floats) -> Curve:
    order = np.argsort(-probability, kind="stable")
    last_of_equals = np.append(np.diff(probability[order]) != 0, True)
    rates = []
    for label in (~truth, truth):
        sums = np.cumsum(weight[:, order] * label[order], axis=1)[:, last_of_equals]
        with np.errstate(invalid="ignore"):
            rates.append(np.hstack([np.zeros((len(weight), 1)), sums]) / sums[:, -1:])
    return Curve(*rates)
