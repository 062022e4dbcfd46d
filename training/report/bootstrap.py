"""Bootstrap intervals: figures of many random draws of the patients, with replacement (Efron 1979).

`truth`, `probability` and `patients` are those of `metrics`. The images of a patient are alike, so they are drawn together."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

DRAWS = 1000
CHUNK = 1_000_000  # draws × images computed at once: bounds the memory to some tens of MB for any number of images
GRID = np.linspace(0, 1, 101)  # the rates and thresholds at which curves are sampled


class Draws(NamedTuple):
    """Figures [B] of each draw, NaN where it lacks a label. `roc` [B, 101]: sensitivity at the false positive rates GRID."""

    sensitivity: Floats
    specificity: Floats
    accuracy: Floats
    auroc: Floats
    roc: Floats


def bootstrap(truth: Bools, probability: Floats, patients: Sequence[str], threshold: float = 0.5) -> Draws:
    """All but `auroc` and `roc` at `threshold`. Always the same draws of the same patients, so that models can be compared."""
    parts = [figures(truth, probability, weight, threshold) for weight in resample(patients)]
    return Draws(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def resample(patients: Sequence[str]) -> Iterator[Floats]:
    """Chunks [b, N] of all draws: how often each image is drawn."""
    rng = np.random.default_rng(0)
    names, owner = np.unique(np.array(patients), return_inverse=True)
    size = max(1, CHUNK // len(owner))
    for start in range(0, DRAWS, size):
        times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), min(size, DRAWS - start))
        yield times[:, owner].astype(np.float64)


def figures(truth: Bools, probability: Floats, weight: Floats, threshold: float) -> Draws:
    """Figures of images that count `weight` [b, N] times."""
    order = np.argsort(-probability, kind="stable")
    last_of_equals = np.append(np.diff(probability[order]) != 0, True)
    counts = [
        np.pad(np.cumsum(weight[:, order] * label[order], axis=1)[:, last_of_equals], ((0, 0), (1, 0)))
        for label in (~truth, truth)
    ]  # false and true positives at every threshold, from none called positive to all
    negatives, positives = (count[:, -1] for count in counts)
    called = len(np.unique(probability[probability >= threshold]))
    false, true = (count[:, called] for count in counts)
    with np.errstate(invalid="ignore"):  # a draw without a label
        false_rates, true_rates = (count / count[:, -1:] for count in counts)
        return Draws(
            sensitivity=true / positives,
            specificity=1 - false / negatives,
            accuracy=(true + negatives - false) / (positives + negatives),
            auroc=np.asarray(np.trapezoid(true_rates, false_rates, axis=1)),
            roc=np.array([np.interp(GRID, *rates) for rates in zip(false_rates, true_rates, strict=True)]),
        )


def interval(draws: Floats) -> list[float]:
    """95 % percentile interval, ignoring NaN."""
    return [float(value) for value in np.nanquantile(draws, [0.025, 0.975])]
