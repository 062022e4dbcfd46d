"""Stage 5: fits temperature, bias, thresholds and novelty cut-offs, and locks the model before a test image is read.

All are fitted on the shifted validation, weighted to equal priors, because images from elsewhere resemble it more than the
ordinary one; temperature and bias also on the same images altered as training never alters them. The ordinary validation shows
how well the calibration holds on images that it was not fitted on."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from sklearn.model_selection import StratifiedGroupKFold

from service.model.artefact import Description, NoveltyCutoffs, read_artefact
from service.model.classifier import Classifier
from training.config import Config
from training.data import manifest, splits
from training.data.alterations import UNSEEN, Alteration
from training.data.manifest import DataError, Record
from training.data.splits import CALIBRATION_PATIENTS
from training.graph import assembly, inference, model_folder
from training.graph.model_folder import FP32
from training.report import int8_gate, metrics, zone
from training.report.bootstrap import Bools, Floats

# Quantiles of the validation images' novelty. A lower one for `foreign` marked too many good X-rays of patients that it was not
# fitted on.
UNUSUAL, FOREIGN = 0.98, 0.998
FULL_STRENGTH = 0.99  # quantile of |evidence| at which the heat-map's colours saturate


def run(config: Config, run_dir: Path) -> None:
    """Writes the calibration into `model/`, drops earlier figures, and removes int8 if it misses its gate."""
    records = manifest.read_manifest(run_dir / manifest.MANIFEST)
    validations = {split: manifest.of_split(records, split) for split in (splits.VAL, splits.SHIFTED)}
    folder, images = run_dir / "model", Path(config.data.folder)
    uncalibrated = model_folder.description_of(folder).metrics.get("uncalibrated")
    changes = list(UNSEEN.values())
    models, description = calibrate(folder, images, validations[splits.SHIFTED], config.calibrate.target, changes, uncalibrated)
    model_folder.write(folder, models, description)
    show(description)
    int8_gate.check(folder, images, validations)


def calibrate(
    folder: Path,
    images: Path,
    records: Sequence[Record],
    target: float,
    changes: Sequence[Alteration] = (),
    uncalibrated: Mapping[str, float] | None = None,
) -> tuple[dict[str, onnx.ModelProto], Description]:
    """Calibrates each variant in `folder` on its own answers to `records`; thresholds and cut-offs come from fp32. Temperature
    and bias are fitted on the images as they are and, if there are `changes`, changed by one of them, in turn. Returns the
    calibrated graphs by variant, and their description. `uncalibrated`: the network's own temperature and bias, with which the
    figures from before are computed; by default those that each variant has now. Raises DataError, as `check_patients`.

    Temperature and bias stay as they were if fitting them makes ECE worse on patients that they were not fitted on. ECE
    decides, over all images that they are fitted on. The log loss would often refuse a good one: Platt's softened targets
    give it up where the labels are nearly separable."""
    description = model_folder.description_of(folder)
    check_patients(records, description.labels)
    truth, views = inference.truth_of(records, description), 2 if changes else 1
    models, variants, evidence, novelty, logits = {}, {}, {}, {}, {}
    for name, variant in description.variants.items():
        models[name] = model = onnx.load(folder / variant.file)
        assembly.set_calibration(model, temperature=1, bias=0)  # so that calibrating again gives the same bits
        artefact = msgspec.structs.replace(read_artefact(folder, name), graph=model.SerializeToString())
        outputs = inference.classify(Classifier(artefact), images, records)
        evidence[name], novelty[name] = outputs.heatmaps.astype(np.float64), outputs.novelty
        changed = (
            [inference.classify(Classifier(artefact), images, records, changes).heatmaps.astype(np.float64)] if changes else []
        )
        logits[name] = np.concatenate([maps.mean((1, 2)) for maps in (evidence[name], *changed)])

    earlier = {name: uncalibrated or msgspec.structs.asdict(variant) for name, variant in description.variants.items()}
    seen, patients = np.tile(truth, views), [record.patient for record in records] * views
    before = expit(logits[FP32] / earlier[FP32]["temperature"] + earlier[FP32]["bias"])
    held_out = cross_fitted(logits[FP32], seen, patients)
    choice = {"before": metrics.ece(seen, before), "after": metrics.ece(seen, held_out)}
    taken = choice["after"] <= choice["before"]
    for name, variant in description.variants.items():
        kept = earlier[name]["temperature"], earlier[name]["bias"]
        assembly.set_calibration(models[name], *(fit_logistic(logits[name], seen) if taken else kept))
        temperature, bias = assembly.calibration(models[name])  # rounded to float32, as the graph computes with them
        variants[name] = msgspec.structs.replace(variant, temperature=temperature, bias=bias, gate={})

    fp32, logit = variants[FP32], evidence[FP32].mean((1, 2))
    thresholds, found = zone.find(truth, expit(logit / fp32.temperature + fp32.bias), target)
    unusual, foreign = (float(np.quantile(novelty[FP32], quantile)) for quantile in (UNUSUAL, FOREIGN))
    scale = float(np.quantile(np.abs(evidence[FP32]), FULL_STRENGTH) / fp32.temperature)
    calibration = {
        "images": len(records),
        "labels": dict(Counter(record.label for record in records)),
        "before": metrics.calibration(truth, before[: len(records)]),
        "after": metrics.calibration(truth, (held_out if taken else before)[: len(records)]),
        "choice": {**choice, "taken": taken},
    }
    names = sorted(description.labels, key=lambda label: label == description.positive)
    return models, msgspec.structs.replace(
        description,
        variants=variants,
        thresholds=thresholds,
        novelty=NoveltyCutoffs(unusual=unusual, foreign=foreign),
        heatmap=msgspec.structs.replace(description.heatmap, scale=scale),
        metrics={
            **model_folder.network_metrics(description),
            "zone": found,
            "calibration": {**calibration, "warnings": [*zone.warnings(found, thresholds, *names), *warnings(calibration)]},
        },
    )


def check_patients(records: Sequence[Record], labels: Sequence[str]) -> None:
    """Raises DataError if a label has fewer than CALIBRATION_PATIENTS."""
    for label in labels:
        found = len({record.patient for record in records if record.label == label})
        if found < CALIBRATION_PATIENTS:
            raise DataError(f"«{label}» has {found} patients to calibrate on; at least {CALIBRATION_PATIENTS} are needed")


def show(description: Description) -> None:
    variant, thresholds = description.variants[FP32], description.thresholds
    calibration = description.metrics["calibration"]
    print(f"temperature {variant.temperature:.3f}, bias {variant.bias:+.3f}, on {calibration['images']:,} images")
    print(f"{'':12}     ECE    Brier      NLL")
    for when in ("before", "after"):
        print(f"{when:12}{calibration[when]['ece']:8.4f} {calibration[when]['brier']:8.4f} {calibration[when]['nll']:8.4f}")
    print(zone.sentence(thresholds, description.positive))
    for warning in calibration["warnings"]:
        print(f"warning: {warning}")


def warnings(calibration: Mapping[str, Any]) -> list[str]:
    """A sentence if fitting made ECE worse: on all images, so that it was not taken, or on the unaltered ones alone."""
    choice, before, after = (calibration[name] for name in ("choice", "before", "after"))
    worse = f"on its own {calibration['images']:,} images the calibration made the expected calibration error worse"
    if not choice["taken"]:
        stay = "It was not taken: temperature and bias stay as they were"
        return [f"{worse}, from {choice['before']:.4f} to {choice['after']:.4f}. {stay}."]
    if after["ece"] > before["ece"]:
        return [
            f"{worse}, from {before['ece']:.4f} to {after['ece']:.4f}. It was taken because it is better with altered ones."
        ]
    return []


def cross_fitted(logit: Floats, truth: Bools, patients: Sequence[str]) -> Floats:
    """Probabilities [N], each from a calibration fitted on the other four fifths of the patients. Each label needs
    CALIBRATION_PATIENTS."""
    probability = np.empty(len(logit))
    folds = StratifiedGroupKFold(CALIBRATION_PATIENTS, shuffle=True, random_state=0)
    for fit, held_out in folds.split(logit, truth, patients):
        temperature, bias = fit_logistic(logit[fit], truth[fit])
        probability[held_out] = expit(logit[held_out] / temperature + bias)
    return probability


def fit_logistic(evidence: Floats, truth: Bools) -> tuple[float, float]:
    """Temperature > 0 and bias that minimise the log loss at equal priors (Platt 1999; Guo et al. 2017, arXiv 1706.04599).
    Platt's softened targets keep the temperature above zero where the two labels are separable."""
    weight = metrics.equal_priors(truth)
    positives, negatives = truth.sum(), (~truth).sum()
    target = np.where(truth, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    center, spread = evidence.mean(), evidence.std() + 1e-12  # for a well-conditioned search
    scaled = (evidence - center) / spread

    def loss(parameters: Floats) -> float:
        logit = np.exp(parameters[0]) * scaled + parameters[1]
        return float(-(weight * (target * log_expit(logit) + (1 - target) * log_expit(-logit))).sum())

    log_slope, offset = minimize(loss, np.zeros(2), method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-12}).x
    slope = np.exp(log_slope) / spread
    return float(1 / slope), float(offset - slope * center)
