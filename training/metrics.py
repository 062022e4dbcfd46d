"""Numbers in, numbers out: what a model gets right, how calibrated it is, and how sure one can be of that.

Throughout, `truth` is bool [N] (positive or not) and `probability` float [N], of the positive label.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.stats import beta, binomtest
from sklearn.metrics import brier_score_loss, precision_recall_fscore_support, roc_auc_score

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]

ECE_BINS = 15
BOOTSTRAPS = 1000


def measure(truth: Bools, probability: Floats, patients: Sequence[str], threshold: float = 0.5) -> dict[str, Any]:
    """What `model.json` keeps of a split. Intervals are 95 %: AUROC by resampling patients, proportions by Wilson.

    `precision`, `recall` and `f1` are macro averages over the two labels. `confusion` is [[TN, FP], [FN, TP]].
    """
    called = probability >= threshold
    (tn, fp), (fn, tp) = ([int((~truth & ~called).sum()), int((~truth & called).sum())],
                          [int((truth & ~called).sum()), int((truth & called).sum())])  # fmt: skip
    precision, recall, f1, _ = precision_recall_fscore_support(truth, called, average="macro", zero_division=0)
    return {
        "images": len(truth),
        "patients": len(set(patients)),
        "threshold": threshold,
        "accuracy": proportion(tn + tp, len(truth)),
        "auroc": {"value": float(roc_auc_score(truth, probability)), "interval": auroc_interval(truth, probability, patients)},
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "sensitivity": proportion(tp, tp + fn),
        "specificity": proportion(tn, tn + fp),
        "confusion": [[tn, fp], [fn, tp]],
        "ece": ece(truth, probability),
        "brier": float(brier_score_loss(truth, probability, sample_weight=equal_priors(truth))),
    }


def equal_priors(truth: Bools) -> Floats:
    """Weights [N], summing to 1, that make both labels equally frequent. Needs both to occur."""
    return np.asarray(np.where(truth, 0.5 / truth.sum(), 0.5 / (~truth).sum()))


def ece(truth: Bools, probability: Floats) -> float:
    """Expected calibration error in 15 bins of equal mass, weighted to equal priors (Naeini et al. 2015; equal mass after
    Nguyen & O'Connor 2015)."""
    order = np.argsort(probability, kind="stable")
    weight = equal_priors(truth)[order]
    bins = np.minimum(((np.cumsum(weight) - weight / 2) * ECE_BINS).astype(int), ECE_BINS - 1)
    gaps = np.bincount(bins, weight * (probability[order] - truth[order]), ECE_BINS)
    return float(np.abs(gaps).sum())


def text(value: Any) -> str:
    """One of the values of `measure`, with its interval if it has one, for people."""
    if isinstance(value, dict):
        low, high = value["interval"]
        return f"{value['value']:.3f} ({low:.3f}–{high:.3f})"
    return f"{value:.4f}" if isinstance(value, float) else f"{value:,}"


def proportion(successes: int, trials: int) -> dict[str, Any]:
    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return {"value": successes / trials, "interval": [float(interval.low), float(interval.high)]}


def lower_bound(successes: int, trials: int) -> float:
    """One-sided 95 % lower bound of a proportion (Clopper & Pearson 1934)."""
    return float(beta.ppf(0.05, successes, trials - successes + 1)) if successes else 0.0


def auroc_interval(truth: Bools, probability: Floats, patients: Sequence[str], seed: int = 0) -> list[float]:
    """Percentile bootstrap over patients, since images of one patient are alike."""
    rng = np.random.default_rng(seed)
    _, owner = np.unique(np.array(patients), return_inverse=True)
    members = [np.flatnonzero(owner == patient) for patient in range(owner.max() + 1)]
    values = []
    for _ in range(BOOTSTRAPS):
        drawn = np.concatenate([members[patient] for patient in rng.integers(0, len(members), len(members))])
        if 0 < truth[drawn].sum() < len(drawn):
            values.append(roc_auc_score(truth[drawn], probability[drawn]))
    return [float(value) for value in np.quantile(values, [0.025, 0.975])]
