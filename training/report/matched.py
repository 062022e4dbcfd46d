"""How far a model follows shortcuts: rank correlations of its logit, and its AUROC where properties no longer tell the label.
The images are weighted by overlap weights (Li, Morgan & Zaslavsky 2018, doi:10.1080/01621459.2016.1260466): those of a label
count more, the more their properties resemble those of the other label.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import logit
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import PolynomialFeatures

from training.data.properties import REACHES_THE_NETWORK, Table, normal_scores
from training.report.bootstrap import Bools, Floats, figures, interval, resample

MATCHED = 0.6  # the greatest AUROC that a property may have after weighting
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10)  # of the fit, the weakest first: it leaves the most images


def weigh(table: Table, truth: Bools) -> Floats | None:
    """Weights [N], one half in sum for each label, under which no property of `table` tells the label with more than MATCHED;
    None if there are none, or if no property varies. `truth` [N]: whether an image has the positive label."""
    table = {name: values for name, values in table.items() if np.ptp(values) > 0}
    if not table or len(set(truth)) < 2:
        return None
    ranks = np.column_stack([normal_scores(values) for values in table.values()])
    terms = PolynomialFeatures(2, include_bias=False).fit_transform(ranks)
    for strength in STRENGTHS:
        regression = LogisticRegression(C=strength, class_weight="balanced", max_iter=5000).fit(terms, truth)
        positive = regression.predict_proba(terms)[:, 1]
        weight: Floats = np.where(truth, 1 - positive, positive)
        for label in (truth, ~truth):
            weight[label] /= 2 * weight[label].sum()
        if max(told(values, truth, weight) for values in table.values()) <= MATCHED:
            return weight
    return None


def validation_weights(table: Table, truth: Bools) -> Floats | None:
    """The weights of `weigh` [N], 0 for images of which a property is unknown."""
    reaching = {name: values for name, values in table.items() if name in REACHES_THE_NETWORK}
    known = np.isfinite(np.column_stack(list(reaching.values()))).all(1)
    found = weigh({name: values[known] for name, values in reaching.items()}, truth[known])
    if found is None:
        return None
    weights = np.zeros(len(truth))
    weights[known] = found
    return weights


def sampling_weights(table: Table, truth: Bools) -> Floats:
    """How often to draw each image [N], 1 on average within a label, so that properties tell the label with MATCHED at most.
    Images of which only some properties are known are matched among themselves, by these. Says how many cannot be matched:
    they are drawn equally often."""
    reaching = np.column_stack([values for name, values in table.items() if name in REACHES_THE_NETWORK])
    known, weights, unmatched = np.isfinite(reaching), np.ones(len(truth)), 0
    for pattern in np.unique(known, axis=0):
        members = (known == pattern).all(1)
        found = weigh({str(index): reaching[members, index] for index in np.flatnonzero(pattern)}, truth[members])
        if found is None:
            unmatched += int(members.sum())
            continue
        for label in (True, False):
            chosen = truth[members] == label
            found[chosen] *= 2 * chosen.sum()
        weights[members] = found
    if unmatched:
        print(f"fit.match: {unmatched:,} images are drawn as they come, because their properties cannot be matched")
    return weights


def told(values: Floats, truth: Bools, weight: Floats) -> float:
    """The weighted AUROC by which a property tells the label: the larger of it and 1 − it."""
    auroc = float(roc_auc_score(truth, values, sample_weight=weight))
    return max(auroc, 1 - auroc)


def measure(table: Table, truth: Bools, probability: Floats, patients: Sequence[str]) -> dict[str, Any]:
    """The figures for `model.json`. `probability` [N]: of the positive label.

    `follows`: by property, the rank correlation of the logit with it within the negative and within the positive label.
    `matched`: the AUROC under the weights of `weigh`, with a 95 % interval over patients; for each label the effective number
    of images; and the greatest AUROC of a property under the weights. It is null where the images cannot be matched. Images of
    which a property is unknown, though it is known of others, do not count.
    """
    table = {name: values for name, values in table.items() if np.isfinite(values).any()}
    known = np.isfinite(np.column_stack(list(table.values()))).all(1)
    if len(set(truth[known])) < 2:
        return {"images": int(known.sum()), "follows": {}, "matched": None}
    kept, table = np.array(patients)[known].tolist(), {name: values[known] for name, values in table.items()}
    truth, probability = truth[known], probability[known]
    varied = {name: values for name, values in table.items() if np.ptp(values) > 0}
    logits = logit(np.clip(probability, 1e-9, 1 - 1e-9))
    follows = {
        name: [float(spearmanr(logits[label], values[label]).statistic) for label in (~truth, truth)]
        for name, values in varied.items()
        if all(np.ptp(array[label]) > 0 for array in (values, logits) for label in (~truth, truth))
    }
    reaching = {name: values for name, values in varied.items() if name in REACHES_THE_NETWORK}
    weight = weigh(reaching, truth)
    if weight is None:
        return {"images": len(truth), "follows": follows, "matched": None}
    draws = np.concatenate([figures(truth, probability, drawn * weight, 0.5).auroc for drawn in resample(kept)])
    return {
        "images": len(truth),
        "follows": follows,
        "matched": {
            "auroc": {"value": float(roc_auc_score(truth, probability, sample_weight=weight)), "interval": interval(draws)},
            "plain_auroc": float(roc_auc_score(truth, probability)),
            "effective_images": [float(0.25 / (weight[label] ** 2).sum()) for label in (~truth, truth)],
            "greatest_property_auroc": max(told(values, truth, weight) for values in reaching.values()),
        },
    }


def show(found: dict[str, Any]) -> None:
    print(f"  {'rank correlation of the logit with a property':46}{'negative':>10}{'positive':>10}")
    for name, (negative, positive) in sorted(found["follows"].items(), key=lambda item: -max(map(abs, item[1]))):
        print(f"  {name:46}{negative:+10.2f}{positive:+10.2f}")
    if matched := found["matched"]:
        (low, high), (negative, positive) = matched["auroc"]["interval"], matched["effective_images"]
        greatest, value = matched["greatest_property_auroc"], matched["auroc"]["value"]
        print(f"AUROC {matched['plain_auroc']:.4f}; where no property tells the label with more than {greatest:.2f}:")
        print(f"{value:.4f} ({low:.4f}–{high:.4f}), as from {negative:.0f} negative and {positive:.0f} positive images")
    else:
        print(f"the properties of both labels overlap too little: {found['images']:,} images cannot be matched")
