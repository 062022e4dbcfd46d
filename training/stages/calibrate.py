"""Stage 5: temperature, bias, thresholds, novelty cut-offs; written, hashed and so locked before a test image is read.

    python -m training calibrate --run runs/1

All come from the shifted validation, weighted to equal priors: images from elsewhere are more like it than like the ordinary
one, which is left to show how far the calibration holds on images that it was not fitted on.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from sklearn.model_selection import StratifiedGroupKFold

from service.model.artefact import Description, HeatmapFormat, NoveltyCutoffs, Thresholds, read_artefact
from service.model.classifier import Classifier, Outputs
from training.config import Calibrate, Config
from training.data import layouts, manifest, splits
from training.data.manifest import DataError, Record
from training.data.splits import CALIBRATION_PATIENTS
from training.graph import assembly, gate, model_folder
from training.graph.model_folder import FP32
from training.report import metrics
from training.report.metrics import Bools, Floats

RECALIBRATE = """temperature, bias, thresholds and novelty cut-offs of a model, anew from your own labelled images

  python -m training recalibrate models/default --data path/to/labelled --out models/ours

The images are path/to/labelled/LABEL/*.jpeg, under the model's own two labels. The network stays as it is.
"""

# Quantiles of the validation images' novelty. With a lower one for `foreign`, too many good X-rays of validation patients whose
# own images had not set it were foreign.
UNUSUAL, FOREIGN = 0.98, 0.998
ROUNDING = 1e-6  # the image at an edge stays on its side in the graph's float32, too
FULL_STRENGTH = 0.99  # quantile of |evidence| that the heat-map's scale ends at


def run(config: Config, run_dir: Path) -> None:
    """Rewrites `model/` with its calibration, without variants that miss the gate; what was measured before is dropped."""
    records = manifest.read_manifest(run_dir / manifest.MANIFEST)
    validations = {split: manifest.of_split(records, split) for split in (splits.VAL, splits.SHIFTED)}
    folder, images = run_dir / "model", Path(config.data.folder)
    found = model_folder.load(folder).artefact.description.metrics.get("calibration")
    models, description = calibrate(folder, images, validations[splits.SHIFTED], config.calibrate.target)
    if found:  # a second time: «before» stays what the network gave by itself
        description.metrics["calibration"]["before"] = found["before"]
    model_folder.write(folder, models, description)
    show(description)
    gate.check(folder, images, validations)


def recalibrate(folder: Path, images: Path, out: Path) -> None:
    """The model in `folder` to `out`, calibrated on all images of `images`.

    Raises DataError: labels other than the model's, or too few images of one.
    """
    records = layouts.scan_labelled(images)
    description = model_folder.load(folder).artefact.description
    if (found := sorted({record.label for record in records})) != sorted(description.labels):
        raise DataError(f"{images}: its labels are {found}, the model's are {description.labels}")
    models, description = calibrate(folder, images, records, Calibrate().target)
    model_folder.write(out, models, description)
    show(description)
    gate.check(out, images, {"labelled": records})


def calibrate(
    folder: Path, images: Path, records: Sequence[Record], target: float
) -> tuple[dict[str, onnx.ModelProto], Description]:
    """The variants in `folder`, each calibrated on `records` by itself; thresholds and cut-offs are those of fp32."""
    description = model_folder.load(folder).artefact.description
    truth = np.array([record.label == description.positive for record in records])
    models = {name: onnx.load(folder / variant.file) for name, variant in description.variants.items()}
    variants, outputs = {}, {}
    for name, model in models.items():
        outputs[name] = model_folder.classify(uncalibrated(folder, name, model), images, records)
        assembly.set_calibration(model, *fit_logistic(_evidence(outputs[name]).mean((1, 2)), truth))
        temperature, bias = assembly.calibration(model)  # in float32, as they are computed with
        variants[name] = msgspec.structs.replace(description.variants[name], temperature=temperature, bias=bias, gate={})

    evidence, plain, fp32 = _evidence(outputs[FP32]), description.variants[FP32], variants[FP32]
    logit = evidence.mean((1, 2))
    thresholds, zone = find_zone(truth, expit(logit / fp32.temperature + fp32.bias), target)
    before = metrics.calibration(truth, expit(logit / plain.temperature + plain.bias))
    after = metrics.calibration(truth, cross_fitted(logit, truth, [record.patient for record in records]))
    novelty = outputs[FP32].novelty
    return models, msgspec.structs.replace(
        description,
        variants=variants,
        thresholds=thresholds,
        novelty=NoveltyCutoffs(unusual=float(np.quantile(novelty, UNUSUAL)), foreign=float(np.quantile(novelty, FOREIGN))),
        heatmap=HeatmapFormat(
            grid=description.heatmap.grid, scale=float(np.quantile(np.abs(evidence), FULL_STRENGTH) / fp32.temperature)
        ),
        metrics={
            **model_folder.of_the_network(description),
            "zone": zone,
            "calibration": {
                "images": len(records),
                "labels": dict(Counter(record.label for record in records)),
                "before": before,
                "after": after,
            },
        },
    )


def show(description: Description) -> None:
    variant, thresholds = description.variants[FP32], description.thresholds
    zone, calibration = description.metrics["zone"], description.metrics["calibration"]
    print(f"temperature {variant.temperature:.3f}, bias {variant.bias:+.3f}, on {calibration['images']:,} images")
    print(f"{'':12}     ECE    Brier      NLL")
    for when in ("before", "after"):
        row = calibration[when]
        print(f"{when:12}{row['ece']:8.4f} {row['brier']:8.4f} {row['nll']:8.4f}")
    print(f"uncertain between {thresholds.screening:.4f} and {thresholds.rule_in:.4f}")
    for edge in ("sensitivity", "specificity"):
        if not zone[edge]["reached"]:
            print(f"  {edge}: {zone[edge]['images']} images cannot show {zone['target']}, only {zone[edge]['lower_bound']:.4f}")


def _evidence(outputs: Outputs) -> Floats:
    """[N, h, w] of the `uncalibrated`."""
    return outputs.heatmaps.astype(np.float64)


def uncalibrated(folder: Path, variant: str, model: onnx.ModelProto) -> Classifier:
    """`model` at temperature 1, so that calibrating again gives the same bits."""
    assembly.set_calibration(model, temperature=1, bias=0)
    artefact = read_artefact(folder, variant)
    return Classifier(msgspec.structs.replace(artefact, graph=model.SerializeToString()))


def cross_fitted(logit: Floats, truth: Bools, patients: Sequence[str]) -> Floats:
    """Probabilities [N]; each fifth of the patients by a calibration that was fitted on the other four.

    Raises DataError: fewer than five patients of a label.
    """
    probability = np.empty(len(logit))
    people = [len({patient for patient, t in zip(patients, truth, strict=True) if t == label}) for label in (True, False)]
    if min(people) < CALIBRATION_PATIENTS:
        raise DataError(
            f"{people[0]} patients of the positive and {people[1]} of the other label: "
            f"at least {CALIBRATION_PATIENTS} of each are needed"
        )
    for fit, held_out in StratifiedGroupKFold(CALIBRATION_PATIENTS, shuffle=True, random_state=0).split(logit, truth, patients):
        temperature, bias = fit_logistic(logit[fit], truth[fit])
        probability[held_out] = expit(logit[held_out] / temperature + bias)
    return probability


def fit_logistic(evidence: Floats, truth: Bools) -> tuple[float, float]:
    """Temperature > 0 and bias that minimise the log loss at equal priors (Platt 1999: his softened targets keep the
    temperature off zero where the two labels are separable; Guo et al. 2017, arXiv 1706.04599)."""
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


def find_zone(truth: Bools, probability: Floats, target: float) -> tuple[Thresholds, dict[str, Any]]:
    """`screening`: the largest threshold ≤ 0.5 whose one-sided 95 % lower bound of sensitivity is at least `target`;
    `rule_in`: the smallest ≥ 0.5 with specificity likewise. Where the images are too few to show `target` even without
    an error, the edge without an error is taken, and `reached` is false."""
    screening, sensitivity = _edge(probability[truth], target)
    below, specificity = _edge(1 - probability[~truth], target)
    zone = {"target": target, "sensitivity": sensitivity, "specificity": specificity}
    return Thresholds(screening=screening, balanced=0.5, rule_in=1 - below), zone


def _edge(confidence: Floats, target: float) -> tuple[float, dict[str, Any]]:
    """`confidence` [N]: probability of the true label. The largest edge ≤ 0.5 with few enough images below it."""
    images = len(confidence)
    allowed = sum(metrics.lower_bound(images - errors, images) >= target for errors in range(images))
    errors_at_half = int((confidence < 0.5).sum())
    tolerated = max(allowed - 1, 0)
    edge = 0.5 if errors_at_half <= tolerated else max(0.0, float(np.sort(confidence)[tolerated]) - ROUNDING)
    errors = int((confidence < edge).sum())
    bound = metrics.lower_bound(images - errors, images)
    return edge, {"images": images, "errors": errors, "lower_bound": bound, "reached": bound >= target}
