"""Compares two models on the same images: the differences, and whether they could be chance.

python -m training compare models/default models/mine --data path/to/labelled"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from training.config import Data
from training.data import scan
from training.data.manifest import DataError
from training.graph import inference, model_folder, seen
from training.report import heatmaps, overview
from training.report.bootstrap import Bools, Floats, bootstrap, interval

Comparison: TypeAlias = dict[str, Any]  # Any: numbers and intervals, as in `metrics`


def run(first: Path, second: Path, data: Data) -> None:
    """Raises DataError if the models answer differently, or do not know the labels."""
    classifiers = [model_folder.load(folder) for folder in (first, second)]
    description, another = (classifier.artefact.description for classifier in classifiers)
    if (another.labels, another.positive) != (description.labels, description.positive):
        answers = [f"{each.labels}, and {each.positive} is positive" for each in (description, another)]
        raise DataError(f"the answers of {first} are {answers[0]}; those of {second} are {answers[1]}")
    found = scan.scan_labelled(data, description)
    overview.brief(found, Path(data.folder))
    records = found.records
    outputs = [inference.classify(classifier, Path(data.folder), records) for classifier in classifiers]
    truth, patients = np.array([record.positive for record in records]), [record.patient for record in records]
    column = description.labels.index(description.positive)
    one, other = (each.probabilities[:, column].astype(np.float64) for each in outputs)
    show((str(first), str(second)), paired(truth, one, other, patients), len(records))
    show_evidence([each.heatmaps for each in outputs])
    for folder in (first, second):
        if warning := seen.warning(folder, records):
            print(warning)


def paired(truth: Bools, first: Floats, second: Floats, patients: list[str]) -> dict[str, Comparison]:
    """AUROC and, at 0.5, sensitivity, specificity and accuracy: both values, second minus first, and its interval over
    patients. `mcnemar`: how many images only one model classifies correctly, and the exact p (McNemar 1947)."""
    one, other = (bootstrap(truth, probability, patients) for probability in (first, second))  # the same draws of patients
    right, right_too = ((probability >= 0.5) == truth for probability in (first, second))
    values = {"auroc": [float(roc_auc_score(truth, probability)) for probability in (first, second)]}
    for name, counted in (("sensitivity", truth), ("specificity", ~truth), ("accuracy", truth | ~truth)):
        values[name] = [float(correct[counted].mean()) for correct in (right, right_too)]
    alone = [int((right & ~right_too).sum()), int((right_too & ~right).sum())]
    p = float(binomtest(alone[0], sum(alone)).pvalue) if sum(alone) else 1.0
    result: dict[str, Comparison] = {"mcnemar": {"right_alone": alone, "p": p}}
    for name, pair in values.items():
        draws = getattr(other, name) - getattr(one, name)
        result[name] = {"values": pair, "difference": pair[1] - pair[0], "interval": interval(draws)}
    return result


def show_evidence(maps: Sequence[heatmaps.Maps]) -> None:
    """Where the evidence of both models lies: a model that looks at lungs has little on the border."""
    for name, share in (("outside middle", heatmaps.outside_share), ("on the border", heatmaps.border_share)):
        first, second = (share(each) for each in maps)
        print(f"evidence {name:14}{first:10.4f}{second:21.4f}   {second - first:+.4f}")


def show(names: tuple[str, str], result: dict[str, Comparison], images: int) -> None:
    print(f"{images:,} images; threshold 0.5; intervals: 95 %, over patients")
    print(f"{'':12}{names[0][-20:]:>21}{names[1][-20:]:>21}   difference")
    for name in ("auroc", "sensitivity", "specificity", "accuracy"):
        (low, high), (first, second) = result[name]["interval"], result[name]["values"]
        print(f"{name:12}{first:21.4f}{second:21.4f}   {result[name]['difference']:+.4f} ({low:+.4f} to {high:+.4f})")
    first, second = result["mcnemar"]["right_alone"]
    print(f"correct where the other is wrong: {first} and {second}; McNemar's exact p = {result['mcnemar']['p']:.3g}")
