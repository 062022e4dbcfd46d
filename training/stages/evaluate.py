"""Stage 6: measures the exported file, through the service's own classifier, on both validations and once on the test fold.

Images of other hospitals are measured too where `data.elsewhere` names some."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from sklearn.metrics import roc_auc_score

from service.model.artefact import Description
from service.model.classifier import Classifier, GreyImage
from training.config import Config
from training.data import alterations, manifest, out_of_distribution, properties, splits
from training.data.manifest import DataError, Record
from training.graph import holdout, inference, model_folder
from training.graph.inference import Predictions
from training.report import elsewhere, gallery, heatmaps, int8_gate, matched, metrics
from training.report.bootstrap import Bools, Floats

SAMPLE = 100  # shifted validation images of each label for the checks of robustness and heat-maps

Metrics: TypeAlias = dict[str, Any]  # Any: a tree of numbers, as in model.json


def run(config: Config, run_dir: Path) -> None:
    """Adds `metrics` to `model.json`; writes `test.json` and `errors.html`. Raises DataError if the model is not calibrated,
    and so not locked."""
    records, folder = manifest.read_manifest(run_dir / manifest.MANIFEST), Path(config.data.folder)
    classifier = model_folder.load(run_dir / "model")
    description = classifier.artefact.description
    if "zone" not in description.metrics:
        raise DataError(f"{run_dir}: the model is not calibrated; run the stage «calibrate» first")
    test = manifest.of_split(records, splits.TEST)
    validations = {split: manifest.of_split(records, split) for split in (splits.VAL, splits.SHIFTED)}
    predictions = {split: inference.predict(classifier, folder, members) for split, members in validations.items()}
    predictions[splits.TEST] = holdout.predict(run_dir, classifier, folder, test)

    results = {split: measure(found, description) for split, found in predictions.items()}
    results["test"]["reading"] = holdout.number_of(run_dir, classifier.artefact)
    strict_paths = {record.path for record in splits.strict_test(records)}
    strict = predictions[splits.TEST].select([index for index, record in enumerate(test) if record.path in strict_paths])
    if splits.official_overlap(records) and len(set(strict.truth)) == 2:
        results["strict_test"] = measure(strict, description)
    results["subgroups"] = subgroups(predictions[splits.TEST])
    sample = every_nth(predictions[splits.SHIFTED], SAMPLE)
    images = [manifest.read_image(folder, record) for record in sample.records]
    results["robustness"] = robustness(classifier, images, sample)
    both = [*validations[splits.VAL], *validations[splits.SHIFTED]]
    results["altered"] = {
        name: metrics.at_half(found.truth, found.probability)
        for name, changes in {"as in training": alterations.ALTERATIONS, "otherwise": alterations.UNSEEN}.items()
        for found in [inference.predict(classifier, folder, both, list(changes.values()))]
    }
    results["odd"] = oddness(classifier, images, predictions[splits.TEST])
    results["heatmaps"] = heatmaps.check(run_dir / "model", classifier, images)
    results["elsewhere"] = elsewhere.measure(run_dir, classifier, config.data.elsewhere)
    results["shortcuts"] = follow_shortcuts(classifier, folder, config.data.properties, list(predictions.values())[:2])

    description = msgspec.structs.replace(description, metrics={**description.metrics, **results})
    model_folder.rewrite_description(run_dir / "model", description)
    gallery.write(run_dir / "errors.html", classifier, folder, predictions)
    show(description)
    int8_gate.confirm(run_dir, folder, test)


def follow_shortcuts(classifier: Classifier, folder: Path, joined: str, validations: Sequence[Predictions]) -> Metrics:
    """How far the model follows properties of the files that are no anatomy, on both validations together."""
    records = [record for found in validations for record in found.records]
    truth, probability = (np.concatenate([getattr(found, name) for found in validations]) for name in ("truth", "probability"))
    table = properties.measure_all(folder, records, joined)
    return {
        **matched.measure(table, truth, probability, [record.patient for record in records]),
        "recompressed": recompressed(classifier, folder, records, truth, table["quantisation_sum"]),
    }


def recompressed(
    classifier: Classifier, folder: Path, records: Sequence[Record], truth: Bools, quantisation: Floats
) -> Metrics | None:
    """Figures where every image is compressed as the other label's files are: at the JPEG quality of their median
    `quantisation` [N]. None where the labels have the same, or no JPEGs."""
    jpegs = quantisation > 0
    if not all((jpegs & label).any() for label in (truth, ~truth)):
        return None
    negative, positive = (properties.jpeg_quality(float(np.median(quantisation[jpegs & label]))) for label in (~truth, truth))
    if negative == positive:
        return None
    swapped = [partial(alterations.jpeg, quality=negative if label else positive) for label in truth]
    found = inference.predict(classifier, folder, records, swapped)
    return {"qualities": [positive, negative], **metrics.at_half(truth, found.probability)}


def measure(predictions: Predictions, description: Description) -> Metrics:
    probability, novelty = predictions.probability, predictions.novelty
    thresholds, cutoffs = msgspec.structs.asdict(description.thresholds), description.novelty
    return {
        **metrics.measure(predictions.truth, probability, predictions.patients, thresholds),
        "uncertain": sum(map(description.thresholds.is_uncertain, probability.tolist())),
        "unusual": int((novelty >= cutoffs.unusual).sum()),
        "foreign": int((novelty >= cutoffs.foreign).sum()),
    }


def subgroups(predictions: Predictions) -> Metrics:
    """By label, series and cause: accuracy at 0.5, and AUROC against all images of the other label."""
    names = np.array([record.group for record in predictions.records])
    truth, probability = predictions.truth, predictions.probability
    groups = {}
    for name in sorted({record.group for record in predictions.records}):
        inside = names == name
        positive = bool(truth[inside][0])
        compared = inside | (truth != positive)
        images, right = int(inside.sum()), int(((probability[inside] >= 0.5) == positive).sum())
        auroc = float(roc_auc_score(truth[compared], probability[compared]))
        groups[name] = {"images": images, "right": metrics.proportion(right, images), "auroc": auroc}
    return groups


def robustness(classifier: Classifier, images: Sequence[GreyImage], predictions: Predictions) -> Metrics:
    """Figures on each kind of altered images. `predictions`: those for the images as they are."""
    description, result = classifier.artefact.description, {}
    changes: dict[str, Callable[[GreyImage], GreyImage]] = {"as they are": np.asarray, **alterations.ALTERATIONS}
    for name, change in changes.items():
        outputs = inference.classify_images(classifier, [change(image) for image in images])
        probability = outputs.probabilities[:, description.labels.index(description.positive)].astype(np.float64)
        result[name] = {
            **metrics.at_half(predictions.truth, probability),
            "mean_change": float(np.abs(probability - predictions.probability).mean()),
            "foreign": float((outputs.novelty >= description.novelty.foreign).mean()),
        }
    return result


def oddness(classifier: Classifier, images: Sequence[GreyImage], test: Predictions) -> Metrics:
    """Novelty on each kind of image that is no good X-ray: AUROC against the test fold, and shares above the cut-offs."""
    cutoffs = classifier.artefact.description.novelty
    result = {}
    for kind, members in out_of_distribution.images().items():
        novelty = inference.classify_images(classifier, members).novelty.astype(np.float64)
        truth = np.repeat([False, True], [len(test.novelty), len(novelty)])
        result[kind] = {
            "images": len(novelty),
            "auroc": float(roc_auc_score(truth, np.concatenate([test.novelty, novelty]))),
            "unusual": float((novelty >= cutoffs.unusual).mean()),
            "foreign": float((novelty >= cutoffs.foreign).mean()),
        }
    return result


def every_nth(predictions: Predictions, limit: int) -> Predictions:
    """At most `limit` images of each label, evenly spaced."""
    of_label = (np.flatnonzero(predictions.truth == label) for label in (False, True))
    kept = [index[np.linspace(0, len(index) - 1, min(limit, len(index))).astype(int)] for index in of_label]
    return predictions.select(sorted(np.concatenate(kept).tolist()))


def show(description: Description) -> None:
    measured = [split for split in ("val", "shifted", "test", "strict_test") if split in description.metrics]
    print(f"{'at 0.5':12}" + "".join(f"{split:>23}" for split in measured))
    for row in ("auroc", "accuracy", "sensitivity", "specificity", "f1", "ece"):
        print(f"{row:12}" + "".join(f"{metrics.text(description.metrics[split][row]):>23}" for split in measured))
    matched.show(description.metrics["shortcuts"])
