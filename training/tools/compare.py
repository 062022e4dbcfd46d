"""Two models on the same images: what differs, and whether it could be chance.

python -m training compare models/default models/mine --data path/to/labelled
"""

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from scipy.stats import binomtest
from sklearn.metrics import roc_auc_score

from training.data import layouts
from training.data.manifest import DataError
from training.graph import model_folder
from training.report.bootstrap import Bootstrap, interval
from training.report.metrics import Bools, Floats

Difference: TypeAlias = dict[str, Any]  # Any: numbers and intervals, as `metrics` gives them


def run(first: Path, second: Path, images: Path) -> None:
    """`images`: FOLDER/LABEL/*.jpeg. Raises DataError: labels that are not both models'."""
    records = layouts.scan_labelled(images)
    probabilities = []
    classifiers = [model_folder.load(folder) for folder in (first, second)]
    positive = classifiers[0].artefact.description.positive
    for folder, classifier in zip((first, second), classifiers, strict=True):
        description = classifier.artefact.description
        if sorted({record.label for record in records}) != sorted(description.labels) or description.positive != positive:
            raise DataError(f"{folder}: its labels are {description.labels}, of {description.positive}; {images} is of others")
        outputs = model_folder.classify(classifier, images, records)
        probabilities.append(outputs.probabilities[:, description.labels.index(positive)].astype(np.float64))
    truth = np.array([record.label == positive for record in records])
    result = paired(truth, probabilities[0], probabilities[1], [record.patient for record in records])
    show((str(first), str(second)), result, len(records))


def paired(truth: Bools, first: Floats, second: Floats, patients: list[str]) -> dict[str, Difference]:
    """Of AUROC, and at 0.5 of sensitivity, specificity and accuracy: both values, second less first, and its interval over
    patients. `mcnemar`: how many images one alone calls right, and the exact p (McNemar 1947)."""
    draws = [Bootstrap(truth, probability, patients) for probability in (first, second)]  # one seed: the same patients
    rates = [draw.rates(0.5) for draw in draws]
    share = draws[0].positives / draws[0].total
    drawn = {
        "auroc": [draw.auroc() for draw in draws],
        "sensitivity": [sensitivity for sensitivity, _ in rates],
        "specificity": [specificity for _, specificity in rates],
        "accuracy": [share * sensitivity + (1 - share) * specificity for sensitivity, specificity in rates],
    }
    right = [(probability >= 0.5) == truth for probability in (first, second)]
    values = {
        "auroc": [float(roc_auc_score(truth, probability)) for probability in (first, second)],
        "sensitivity": [float(r[truth].mean()) for r in right],
        "specificity": [float(r[~truth].mean()) for r in right],
        "accuracy": [float(r.mean()) for r in right],
    }
    alone = [int((right[0] & ~right[1]).sum()), int((right[1] & ~right[0]).sum())]
    p = float(binomtest(alone[0], sum(alone)).pvalue) if sum(alone) else 1.0
    return {
        name: {"values": pair, "difference": pair[1] - pair[0], "interval": interval(drawn[name][1] - drawn[name][0])}
        for name, pair in values.items()
    } | {"mcnemar": {"right_alone": alone, "p": p}}


def show(names: tuple[str, str], result: dict[str, Difference], images: int) -> None:
    print(f"{images:,} images; at 0.5; intervals: 95 %, over patients")
    print(f"{'':12}{names[0][-20:]:>21}{names[1][-20:]:>21}   difference")
    for name, row in result.items():
        if name != "mcnemar":
            low, high = row["interval"]
            first, second = row["values"]
            print(f"{name:12}{first:21.4f}{second:21.4f}   {row['difference']:+.4f} ({low:+.4f} to {high:+.4f})")
    first, second = result["mcnemar"]["right_alone"]
    print(f"right where the other is wrong: {first} and {second}; McNemar's exact p = {result['mcnemar']['p']:.3g}")
