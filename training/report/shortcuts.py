"""The shortcut audit: how well properties that are no anatomy tell the label.
A network can learn them in place of the disease (Geirhos et al. 2020, arXiv 2004.07780). Nothing promises that they point the
same way in another archive.
"""

from collections.abc import Iterable, Sequence

import msgspec
import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold

from training.data.properties import REACHES_THE_NETWORK, Table
from training.report.bootstrap import Bools, Floats, bootstrap, interval

TELLS = 0.6  # a property tells the label if the lower end of its interval is above this
FOLDS = 5
TOGETHER, PIXELS_TOGETHER = "all together", "all that reach the network"


class Shortcut(msgspec.Struct, frozen=True, kw_only=True):
    """How well a property, or several together, tells the label. `auroc`: the larger of it and 1 − it; `interval`: 95 %, over
    patients. `images`: those for which the property is known."""

    name: str
    auroc: float
    interval: tuple[float, float]
    images: int

    @property
    def tells(self) -> bool:
        return self.interval[0] > TELLS


def find(table: Table, truth: Bools, patients: Sequence[str]) -> list[Shortcut]:
    """`truth` [N]: whether an image has the positive label. The best first; before them, properties together, cross-validated
    by patient. Properties that are the same for all images are left out."""
    owners = np.array(patients)
    varied = {name: values for name, values in table.items() if len(np.unique(values[np.isfinite(values)])) > 1}
    found = [single(name, values, truth, owners) for name, values in varied.items()]
    groups = {TOGETHER: varied, PIXELS_TOGETHER: {name: varied[name] for name in varied if name in REACHES_THE_NETWORK}}
    joint = [
        single(name, cross_validated(np.column_stack(list(members.values())), truth, owners), truth, owners)
        for name, members in groups.items()
        if len(members) > 1 and enough_patients(truth, owners)
    ]
    return [*joint, *sorted(found, key=lambda shortcut: -shortcut.auroc)]


def single(name: str, values: Floats, truth: Bools, patients: np.ndarray[tuple[int], np.dtype[np.str_]]) -> Shortcut:
    known = np.isfinite(values)
    if len(set(truth[known])) < 2:
        return Shortcut(name=name, auroc=0.5, interval=(0.5, 0.5), images=int(known.sum()))
    auroc = float(roc_auc_score(truth[known], values[known]))
    sign = 1 if auroc >= 0.5 else -1
    low, high = interval(bootstrap(truth[known], sign * values[known], list(patients[known])).auroc)
    return Shortcut(name=name, auroc=max(auroc, 1 - auroc), interval=(low, high), images=int(known.sum()))


def enough_patients(truth: Bools, patients: np.ndarray[tuple[int], np.dtype[np.str_]]) -> bool:
    return min(len(set(patients[truth])), len(set(patients[~truth]))) >= FOLDS


def cross_validated(features: Floats, truth: Bools, patients: np.ndarray[tuple[int], np.dtype[np.str_]]) -> Floats:
    """Probabilities [N] of boosted trees on `features` [N, P], each from a fit on the other four fifths of the patients."""
    probability = np.empty(len(truth))
    for fit, held_out in StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(features, truth, patients):
        trees = HistGradientBoostingClassifier(random_state=0).fit(features[fit], truth[fit])
        probability[held_out] = trees.predict_proba(features[held_out])[:, 1]
    return probability


def advice(found: Iterable[Shortcut]) -> str:
    """One sentence on what to do."""
    telling = [shortcut.name for shortcut in found if shortcut.tells and shortcut.name not in (TOGETHER, PIXELS_TOGETHER)]
    if not telling:
        return f"no property of the files clearly tells the label: no interval lies above {TELLS}"
    tells = f"{', '.join(telling)}: {'each ' * (len(telling) > 1)}tells the label without anatomy"
    return (
        f"{tells}. Look for images of both labels from the same source, and do not trust figures that were measured on this "
        "archive alone."
    )


def show(found: Sequence[Shortcut]) -> None:
    print(f"  {'how well a property alone tells the label':44}{'AUROC':>8}{'95 % interval':>18}{'images':>9}")
    for shortcut in found:
        low, high = shortcut.interval
        print(f"  {shortcut.name:44}{shortcut.auroc:8.3f}{f'{low:.3f}–{high:.3f}':>18}{shortcut.images:9,}")
    print(advice(found))
