"""Stage 6: measure the exported file, through the service's own classifier, on both validations and, once, on the test fold.

python -m training evaluate --run runs/1
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import numpy as np
from sklearn.metrics import roc_auc_score

from service.model.artefact import Description
from service.model.classifier import Classifier, GreyImage, Outputs
from training.config import Config
from training.data import alterations, manifest, out_of_distribution, splits
from training.data.manifest import DataError
from training.graph import gate, model_folder, predictions
from training.graph.predictions import Answers
from training.report import gallery, heatmaps, metrics

SAMPLE = 100  # shifted validation images of each label that are altered, and whose heat-maps are checked

Measured: TypeAlias = dict[str, Any]  # Any: a tree of numbers, as model.json keeps it


def run(config: Config, run_dir: Path) -> None:
    """Adds `metrics` to `model.json`; writes `predictions.csv` and `errors.html`.

    Raises DataError: the model is not calibrated, and so not locked.
    """
    records, images_folder = manifest.read_manifest(run_dir / manifest.MANIFEST), Path(config.data.folder)
    classifier = model_folder.load(run_dir / "model")
    description = classifier.artefact.description
    if "zone" not in description.metrics:
        raise DataError(f"{run_dir}: the model is not calibrated; run the stage «calibrate» first")
    answers = predictions.answers(classifier, config, records, run_dir)
    test, shifted = answers[splits.TEST], answers[splits.SHIFTED]

    results = {split: measure(answer, description) for split, answer in answers.items()}
    results["test"]["reading"] = predictions.reading(run_dir, classifier.artefact)
    strict_paths = {record.path for record in splits.strict_test(records)}
    strict = test.only(lambda record: record.path in strict_paths)
    if splits.official_overlap(records) and len(set(strict.truth)) == 2:
        results["strict_test"] = measure(strict, description)
    results["subgroups"] = subgroups(test)
    sample = every_nth(shifted, SAMPLE)
    images = [manifest.read_image(images_folder, record) for record in sample.records]
    results["robustness"] = robustness(classifier, images, sample)
    results["odd"] = oddness(classifier, images, test)
    results["heatmaps"] = heatmaps.check(run_dir / "model", classifier, images)

    description = msgspec.structs.replace(description, metrics={**description.metrics, **results})
    model_folder.rewrite_description(run_dir / "model", description)
    gallery.write(run_dir / "errors.html", classifier, images_folder, answers)
    show(description)
    gate.confirm(run_dir, images_folder, manifest.of_split(records, splits.TEST))


def measure(answers: Answers, description: Description) -> Measured:
    thresholds = msgspec.structs.asdict(description.thresholds)
    result = metrics.measure(answers.truth, answers.probability, answers.patients, thresholds)
    unsure = (answers.probability >= thresholds["screening"]) & (answers.probability < thresholds["rule_in"])
    result["uncertain"] = int(unsure.sum())
    result["unusual"] = int((answers.novelty >= description.novelty.unusual).sum())
    result["foreign"] = int((answers.novelty >= description.novelty.foreign).sum())
    return result


def subgroups(answers: Answers) -> Measured:
    """By label, series and cause: the share called right at 0.5, and AUROC against all images of the other label."""
    names = [record.group for record in answers.records]
    groups = {}
    for name in sorted(set(names)):
        inside = np.array([other == name for other in names])
        positive = bool(answers.truth[inside][0])
        compared = inside | (answers.truth != positive)
        right = int(((answers.probability[inside] >= 0.5) == positive).sum())
        groups[name] = {
            "images": int(inside.sum()),
            "right": metrics.proportion(right, int(inside.sum())),
            "auroc": float(roc_auc_score(answers.truth[compared], answers.probability[compared])),
        }
    return groups


def robustness(classifier: Classifier, images: Sequence[GreyImage], answers: Answers) -> Measured:
    """How the answers change when an image comes altered."""
    return {
        name: _changed([change(image) for image in images], classifier, answers)
        for name, change in {"as they are": _same, **alterations.ALTERATIONS}.items()
    }


def oddness(classifier: Classifier, images: Sequence[GreyImage], good: Answers) -> Measured:
    """By kind of image that is no good X-ray: how well novelty tells it from the test fold (AUROC), and how it is called."""
    cutoffs = classifier.artefact.description.novelty
    result = {}
    for kind, members in out_of_distribution.images().items():
        novelty = model_folder.classify_images(classifier, members).novelty.astype(np.float64)
        truth = np.repeat([False, True], [len(good.novelty), len(novelty)])
        result[kind] = {
            "images": len(novelty),
            "auroc": float(roc_auc_score(truth, np.concatenate([good.novelty, novelty]))),
            "unusual": float((novelty >= cutoffs.unusual).mean()),
            "foreign": float((novelty >= cutoffs.foreign).mean()),
        }
    return result


def every_nth(answers: Answers, each: int) -> Answers:
    """At most `each` images of each label, evenly spaced."""
    kept: set[str] = set()
    for label in (False, True):
        paths = [record.path for record, truth in zip(answers.records, answers.truth, strict=True) if truth == label]
        kept |= {paths[index] for index in np.linspace(0, len(paths) - 1, min(each, len(paths))).astype(int)}
    return answers.only(lambda record: record.path in kept)


def show(description: Description) -> None:
    rows = ("auroc", "accuracy", "sensitivity", "specificity", "f1", "ece")
    measured = [split for split in ("val", "shifted", "test", "strict_test") if split in description.metrics]
    print(f"{'at 0.5':12}" + "".join(f"{split:>23}" for split in measured))
    for row in rows:
        print(f"{row:12}" + "".join(f"{metrics.text(description.metrics[split][row]):>23}" for split in measured))


def _same(image: GreyImage) -> GreyImage:
    return image


def _changed(images: Sequence[GreyImage], classifier: Classifier, answers: Answers) -> Measured:
    outputs: Outputs = model_folder.classify_images(classifier, images)
    description = classifier.artefact.description
    probability = outputs.probabilities[:, description.labels.index(description.positive)].astype(np.float64)
    count = metrics.counts(answers.truth, probability, 0.5)
    return {
        "auroc": float(roc_auc_score(answers.truth, probability)),
        "sensitivity": metrics.proportion(count["tp"], count["tp"] + count["fn"]),
        "specificity": metrics.proportion(count["tn"], count["tn"] + count["fp"]),
        "mean_change": float(np.abs(probability - answers.probability).mean()),
        "foreign": float((outputs.novelty >= description.novelty.foreign).mean()),
    }
