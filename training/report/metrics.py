"""Numbers in, numbers out: what a model gets right, how calibrated it is, and how sure one can be of that.

Throughout, `truth` is bool [N] (positive or not), `probability` float [N], of the positive label, and `patients` says whose
image each is. Intervals are 95 %: `interval` of a proportion is Wilson's, which takes images for independent;
`patient_interval`, and all others, resample patients (percentile bootstrap), since images of one patient are alike.
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, binomtest
from sklearn.metrics import average_precision_score, brier_score_loss, log_loss, matthews_corrcoef, roc_auc_score

from training.report.bootstrap import Bootstrap, curve, interval

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

ECE_BINS = 15
RELIABILITY_BINS = 10
HISTOGRAM_BINS = 20
CURVE_POINTS = 101


def measure(truth: Bools, probability: Floats, patients: Sequence[str], thresholds: Mapping[str, float]) -> dict[str, Any]:
    """What `model.json` keeps of a split. `thresholds`: by name, `balanced` (0.5) among them, at which all single figures are.

    `precision`, `recall` and `f1` are macro averages over the two labels; `recall` is also the balanced accuracy.
    """
    draws = Bootstrap(truth, probability, patients)
    at = {name: counts(truth, probability, threshold) for name, threshold in thresholds.items()}
    tp, fp, fn, tn = at["balanced"].values()
    called = probability >= thresholds["balanced"]
    sensitivity, specificity = draws.rates(thresholds["balanced"])
    positives = draws.positives / draws.total
    accuracy = positives * sensitivity + (1 - positives) * specificity
    return {
        "images": len(truth),
        "patients": len(set(patients)),
        "auroc": {"value": float(roc_auc_score(truth, probability)), "interval": interval(draws.auroc())},
        "average_precision": float(average_precision_score(truth, probability)),
        "accuracy": {**proportion(tp + tn, len(truth)), "patient_interval": interval(accuracy)},
        "sensitivity": {**proportion(tp, tp + fn), "patient_interval": interval(sensitivity)},
        "specificity": {**proportion(tn, tn + fp), "patient_interval": interval(specificity)},
        **_macro(tp, fp, fn, tn),
        "mcc": float(matthews_corrcoef(truth, called)),
        "at": at,
        **calibration(truth, probability),
        "histogram": histogram(truth, probability),
        "roc": _roc(truth, probability, draws),
        "precision_recall": _precision_recall(truth, probability),
        "sweep": _sweep(truth, probability),
    }


def calibration(truth: Bools, probability: Floats) -> dict[str, Any]:
    """How far probabilities can be taken at their word, at equal priors. `reliability`: mean probability, observed share and
    number of images in bins of equal mass."""
    weight = equal_priors(truth)
    return {
        "ece": ece(truth, probability),
        "brier": float(brier_score_loss(truth, probability, sample_weight=weight)),
        "nll": float(log_loss(truth, probability, sample_weight=weight)),
        "reliability": reliability(truth, probability),
    }


def counts(truth: Bools, probability: Floats, threshold: float) -> dict[str, int]:
    called = probability >= threshold
    return {
        "tp": int((truth & called).sum()),
        "fp": int((~truth & called).sum()),
        "fn": int((truth & ~called).sum()),
        "tn": int((~truth & ~called).sum()),
    }


def equal_priors(truth: Bools) -> Floats:
    """Weights [N], summing to 1, that make both labels equally frequent. Needs both to occur."""
    return np.asarray(np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum()))


def ece(truth: Bools, probability: Floats) -> float:
    """Expected calibration error in 15 bins of equal mass, weighted to equal priors (Naeini et al. 2015; equal mass after
    Nguyen & O'Connor 2015)."""
    bins, weight = _equal_mass(truth, probability, ECE_BINS), equal_priors(truth)
    return float(np.abs(np.bincount(bins, weight * (probability - truth), ECE_BINS)).sum())


def reliability(truth: Bools, probability: Floats) -> list[dict[str, Any]]:
    bins, weight = _equal_mass(truth, probability, RELIABILITY_BINS), equal_priors(truth)
    return [
        {
            "probability": float(np.average(probability[inside], weights=weight[inside])),
            "observed": float(np.average(truth[inside], weights=weight[inside])),
            "images": int(inside.sum()),
        }
        for number in range(RELIABILITY_BINS)
        if (inside := bins == number).any()
    ]


def histogram(truth: Bools, probability: Floats) -> dict[str, list[int]]:
    """Images in 20 bins of equal width from 0 to 1."""
    ranges: dict[str, Any] = {"bins": HISTOGRAM_BINS, "range": (0, 1)}
    return {
        "positive": np.histogram(probability[truth], **ranges)[0].tolist(),
        "negative": np.histogram(probability[~truth], **ranges)[0].tolist(),
    }


def proportion(successes: int, trials: int) -> dict[str, Any]:
    low_high = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return {"value": successes / trials, "interval": [float(low_high.low), float(low_high.high)]}


def lower_bound(successes: int, trials: int) -> float:
    """One-sided 95 % lower bound of a proportion (Clopper & Pearson 1934)."""
    return float(beta.ppf(0.05, successes, trials - successes + 1)) if successes else 0.0


def predictive_values(sensitivity: float, specificity: float, prevalence: Floats) -> tuple[Floats, Floats]:
    """PPV and NPV, as `prevalence` is shaped, by Bayes' rule; NaN where nothing is called so."""
    positive, negative = prevalence * sensitivity, (1 - prevalence) * specificity
    with np.errstate(invalid="ignore"):
        ppv = positive / (positive + (1 - prevalence) * (1 - specificity))
        return ppv, negative / (negative + prevalence * (1 - sensitivity))


def text(value: Any) -> str:
    """One of the values of `measure`, with its interval if it has one, for people."""
    if isinstance(value, dict):
        low, high = value["interval"]
        return f"{value['value']:.3f} ({low:.3f}–{high:.3f})"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


def _roc(truth: Bools, probability: Floats, draws: Bootstrap) -> dict[str, list[float]]:
    """Sensitivity, and its band over patients, at 101 false positive rates."""
    grid = np.linspace(0, 1, CURVE_POINTS)
    own = curve(truth, probability, np.ones((1, len(truth))))
    drawn = draws.curve()
    rows = [
        np.interp(grid, false, true)
        for false, true in zip(drawn.false_positives, drawn.true_positives, strict=True)
        if true[-1] == 1
    ]
    low, high = np.nanquantile(rows, [0.025, 0.975], axis=0)
    sensitivity = np.interp(grid, own.false_positives[0], own.true_positives[0])
    return {"false_positive_rate": _list(grid), "sensitivity": _list(sensitivity), "low": _list(low), "high": _list(high)}


def _precision_recall(truth: Bools, probability: Floats) -> dict[str, list[float]]:
    """Precision at 101 recalls, at the images' own prevalence."""
    own = curve(truth, probability, np.ones((1, len(truth))))
    true, false = own.true_positives[0, 1:] * truth.sum(), own.false_positives[0, 1:] * (~truth).sum()
    grid = np.linspace(0, 1, CURVE_POINTS)
    precision = np.maximum.accumulate((true / (true + false))[::-1])[::-1]  # at least this recall
    at = np.minimum(np.searchsorted(true / truth.sum(), grid - 1e-12), len(precision) - 1)
    return {"recall": _list(grid), "precision": _list(precision[at])}


def _sweep(truth: Bools, probability: Floats) -> dict[str, list[float]]:
    """Sensitivity and specificity at thresholds 0, 0.01 … 1."""
    grid = np.linspace(0, 1, CURVE_POINTS)
    called = probability >= grid[:, None]
    return {
        "threshold": _list(grid),
        "sensitivity": _list(called[:, truth].mean(1)),
        "specificity": _list((~called[:, ~truth]).mean(1)),
    }


def _macro(tp: int, fp: int, fn: int, tn: int) -> dict[str, float]:
    precisions = [tp / max(tp + fp, 1), tn / max(tn + fn, 1)]
    recalls = [tp / (tp + fn), tn / (tn + fp)]
    f1s = [2 * tp / (2 * tp + fp + fn), 2 * tn / max(2 * tn + fp + fn, 1)]
    return {"precision": sum(precisions) / 2, "recall": sum(recalls) / 2, "f1": sum(f1s) / 2}


def _equal_mass(truth: Bools, probability: Floats, bins: int) -> npt.NDArray[np.int64]:
    """The bin of each image [N]; every bin weighs about the same at equal priors, and equals stay together."""
    _, value = np.unique(probability, return_inverse=True)
    weight = np.bincount(value, equal_priors(truth))
    middle = np.cumsum(weight) - weight / 2
    return np.minimum((middle * bins).astype(np.int64), bins - 1)[value]


def _list(values: Floats) -> list[float]:
    return [round(float(value), 5) for value in values]
