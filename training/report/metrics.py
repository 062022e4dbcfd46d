"""Computes metrics of binary predictions: discrimination, calibration, and the interval of each figure.

To add a metric to the report, compute it in `measure` and name it in `ROWS` of `training/stages/card.py`.

Everywhere, `truth` is bool [N] (positive label or not), `probability` float [N] of the positive label, and `patients` names
the patient of each image. Intervals are 95 %: `interval` of a proportion is Wilson's, which assumes independent images;
`patient_interval`, and all others, come from resampling patients, because images of one patient are alike."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.metrics as sk
from scipy.stats import beta, binomtest

from training.report.bootstrap import GRID, Bools, Draws, Floats, bootstrap, interval

ECE_BINS = 15
RELIABILITY_BINS = 10
HISTOGRAM_BINS = 20


def measure(truth: Bools, probability: Floats, patients: Sequence[str], thresholds: Mapping[str, float]) -> dict[str, Any]:
    """All figures that `model.json` keeps of one split.

    `thresholds`: by name; single figures are taken at the one named `balanced`. `precision`, `recall` and `f1` are macro
    averages over the two labels; `recall` is also the balanced accuracy."""
    draws = bootstrap(truth, probability, patients, thresholds["balanced"])
    at = {name: counts(truth, probability, threshold) for name, threshold in thresholds.items()}
    tp, fp, fn, tn = at["balanced"].values()
    called = probability >= thresholds["balanced"]
    macro = sk.precision_recall_fscore_support(truth, called, average="macro", zero_division=0)
    return {
        "images": len(truth),
        "patients": len(set(patients)),
        "auroc": {"value": float(sk.roc_auc_score(truth, probability)), "interval": interval(draws.auroc)},
        "average_precision": float(sk.average_precision_score(truth, probability)),
        "accuracy": {**proportion(tp + tn, len(truth)), "patient_interval": interval(draws.accuracy)},
        "sensitivity": {**proportion(tp, tp + fn), "patient_interval": interval(draws.sensitivity)},
        "specificity": {**proportion(tn, tn + fp), "patient_interval": interval(draws.specificity)},
        **{name: float(value) for name, value in zip(("precision", "recall", "f1"), macro[:3], strict=True)},
        "mcc": float(sk.matthews_corrcoef(truth, called)),
        "at": at,
        **calibration(truth, probability),
        "histogram": histogram(truth, probability),
        "roc": _roc(truth, probability, draws),
        "precision_recall": _precision_recall(truth, probability),
        "sweep": _sweep(truth, probability),
    }


def at_half(truth: Bools, probability: Floats) -> dict[str, Any]:
    """Few figures, without intervals over patients."""
    tp, fp, fn, tn = counts(truth, probability, 0.5).values()
    return {
        "auroc": float(sk.roc_auc_score(truth, probability)),
        "sensitivity": proportion(tp, tp + fn),
        "specificity": proportion(tn, tn + fp),
        "ece": ece(truth, probability),
    }


def calibration(truth: Bools, probability: Floats) -> dict[str, Any]:
    """Calibration figures at equal priors. `reliability`: mean probability, observed share and number of images per bin."""
    weight = equal_priors(truth)
    return {
        "ece": ece(truth, probability),
        "brier": float(sk.brier_score_loss(truth, probability, sample_weight=weight)),
        "nll": float(sk.log_loss(truth, probability, sample_weight=weight)),
        "reliability": reliability(truth, probability),
    }


def counts(truth: Bools, probability: Floats, threshold: float) -> dict[str, int]:
    tn, fp, fn, tp = sk.confusion_matrix(truth, probability >= threshold, labels=[False, True]).ravel().tolist()
    return {"tp": tp, "fp": fp, "fn": fn, "tn": tn}


def equal_priors(truth: Bools) -> Floats:
    """Weights [N], summing to 1, that make both labels equally frequent. Both must occur."""
    return np.asarray(np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum()))


def ece(truth: Bools, probability: Floats) -> float:
    """Expected calibration error in 15 bins of equal mass, weighted to equal priors (Naeini et al. 2015; bins of equal mass:
    Nguyen & O'Connor 2015)."""
    bins, weight = _equal_mass(truth, probability, ECE_BINS), equal_priors(truth)
    return float(np.abs(np.bincount(bins, weight * (probability - truth), ECE_BINS)).sum())


def reliability(truth: Bools, probability: Floats) -> list[dict[str, Any]]:
    bins, weight = _equal_mass(truth, probability, RELIABILITY_BINS), equal_priors(truth)
    filled = [inside for number in range(RELIABILITY_BINS) if (inside := bins == number).any()]
    mean = [np.average([probability[inside], truth[inside]], axis=1, weights=weight[inside]).tolist() for inside in filled]
    return [{"probability": p, "observed": y, "images": int(inside.sum())} for (p, y), inside in zip(mean, filled, strict=True)]


def histogram(truth: Bools, probability: Floats) -> dict[str, list[int]]:
    """Number of images in 20 bins of equal width from 0 to 1."""
    kinds = {"positive": truth, "negative": ~truth}
    return {name: np.histogram(probability[kind], HISTOGRAM_BINS, (0, 1))[0].tolist() for name, kind in kinds.items()}


def proportion(successes: int, trials: int) -> dict[str, Any]:
    low_high = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return {"value": successes / trials, "interval": [float(low_high.low), float(low_high.high)]}


def lower_bound(successes: int, trials: int) -> float:
    """One-sided 95 % lower bound of a proportion (Clopper & Pearson 1934)."""
    return float(beta.ppf(0.05, successes, trials - successes + 1)) if successes else 0.0


def predictive_values(sensitivity: float, specificity: float, prevalence: Floats) -> tuple[Floats, Floats]:
    """PPV and NPV at each prevalence, by Bayes' rule; NaN where no image gets that label."""
    positive, negative = prevalence * sensitivity, (1 - prevalence) * specificity
    with np.errstate(invalid="ignore"):
        ppv = positive / (positive + (1 - prevalence) * (1 - specificity))
        return ppv, negative / (negative + prevalence * (1 - sensitivity))


def text(value: Any) -> str:
    """Formats one value of `measure` for people, with its interval if it has one."""
    if isinstance(value, dict):
        low, high = value["interval"]
        return f"{value['value']:.3f} ({low:.3f}–{high:.3f})"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


def _roc(truth: Bools, probability: Floats, draws: Draws) -> dict[str, list[float]]:
    """Sensitivity at 101 false positive rates, and its band over patients."""
    false, true, _ = sk.roc_curve(truth, probability, drop_intermediate=False)
    low, high = np.quantile(draws.roc[np.isfinite(draws.auroc)], [0.025, 0.975], axis=0)
    curves = {"false_positive_rate": GRID, "sensitivity": np.interp(GRID, false, true), "low": low, "high": high}
    return {name: _list(values) for name, values in curves.items()}


def _precision_recall(truth: Bools, probability: Floats) -> dict[str, list[float]]:
    """The greatest precision at each of 101 recalls or more, at the images' own prevalence."""
    precision, recall, _ = sk.precision_recall_curve(truth, probability)  # recall falls; the last point is no threshold
    greatest = np.maximum.accumulate(precision[:-1])[::-1]
    at = np.searchsorted(recall[-2::-1], GRID - 1e-12)
    return {"recall": _list(GRID), "precision": _list(greatest[at])}


def _sweep(truth: Bools, probability: Floats) -> dict[str, list[float]]:
    """Sensitivity and specificity at thresholds 0, 0.01 … 1."""
    called = probability >= GRID[:, None]
    sensitivity, specificity = called[:, truth].mean(1), (~called[:, ~truth]).mean(1)
    return {"threshold": _list(GRID), "sensitivity": _list(sensitivity), "specificity": _list(specificity)}


def _equal_mass(truth: Bools, probability: Floats, bins: int) -> npt.NDArray[np.int64]:
    """The bin of each image [N]. Bins weigh about the same at equal priors; equal probabilities share a bin."""
    _, value = np.unique(probability, return_inverse=True)
    weight = np.bincount(value, equal_priors(truth))
    middle = np.cumsum(weight) - weight / 2
    return np.minimum((middle * bins).astype(np.int64), bins - 1)[value]


def _list(values: Floats) -> list[float]:
    return [round(float(value), 5) for value in values]
