"""Figures of a model on images of other hospitals. Nothing is fitted on them or chosen by them: as the test fold, they are read
once for each model, and the reading is logged."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from service.model.artefact import Description
from service.model.classifier import Classifier
from training.config import data_at
from training.data import scan
from training.graph import holdout
from training.graph.inference import Predictions
from training.report import metrics
from training.report.bootstrap import bootstrap, interval

PATIENTS = 5  # the least of each label for an AUROC; of fewer, an interval would say nothing


def measure(run_dir: Path, classifier: Classifier, folders: Mapping[str, str]) -> dict[str, Any]:
    """For `model.json`, by the name of the hospital: figures of all its images, and of those that are called typical. Raises
    DataError, as `scan.scan_labelled`."""
    description = classifier.artefact.description
    found = {}
    for name, folder in folders.items():
        data = data_at(Path(folder))
        records = scan.scan_labelled(data, description).records
        predictions = holdout.predict(run_dir, classifier, Path(data.folder), records, data=name)
        typical = predictions.select(np.flatnonzero(predictions.novelty < description.novelty.unusual).tolist())
        found[name] = {"all": figures(predictions, description), "typical": figures(typical, description)}
    return found


def figures(predictions: Predictions, description: Description) -> dict[str, Any]:
    """At a threshold of 0.5. A figure is null where there are too few images of a label: no AUROC with fewer than PATIENTS."""
    truth, probability, novelty, cutoffs = *predictions[1:], description.novelty
    right, positives, negatives = (probability >= 0.5) == truth, int(truth.sum()), int((~truth).sum())
    enough = all(len(set(np.array(predictions.patients)[truth == label])) >= PATIENTS for label in (True, False))
    return {
        "images": {"negative": negatives, "positive": positives},
        "auroc": _auroc(predictions) if enough else None,
        "sensitivity": metrics.proportion(int(right[truth].sum()), positives) if positives else None,
        "specificity": metrics.proportion(int(right[~truth].sum()), negatives) if negatives else None,
        "unusual": int((novelty >= cutoffs.unusual).sum()),
        "foreign": int((novelty >= cutoffs.foreign).sum()),
    }


def _auroc(predictions: Predictions) -> dict[str, Any]:
    draws = bootstrap(predictions.truth, predictions.probability, predictions.patients)
    return {"value": float(roc_auc_score(predictions.truth, predictions.probability)), "interval": interval(draws.auroc)}
