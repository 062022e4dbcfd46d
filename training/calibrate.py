"""Stage 4: temperature, bias, thresholds, novelty cut-offs; written, hashed and so locked before a test image is read.

    python -m training calibrate --run runs/1

Temperature and bias are fitted on both validations together, weighted to equal priors: the ordinary one is nearly
separable, and alone would push the probabilities to the ends. The zone comes from the shifted one alone.
"""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from service.artefact import Heatmap, NoveltyCutoffs, Thresholds, read_artefact
from service.classifier import Classifier
from training import data, graph, metrics, model_folder
from training.config import Config
from training.metrics import Bools, Floats

UNUSUAL, FOREIGN = 0.99, 0.999  # quantiles of the validation images' novelty
ROUNDING = 1e-6  # the image at an edge stays on its side in the graph's float32, too
FULL_STRENGTH = 0.99  # quantile of |evidence| that the heat-map's scale ends at


def run(config: Config, run_dir: Path) -> None:
    """Rewrites `model/` with its calibration."""
    records = data.of_split(data.read_manifest(run_dir / "manifest.csv"), "val", "shifted")
    truth = np.array([record.label == config.data.positive for record in records])
    shifted = np.array([record.split == "shifted" for record in records])
    folder = run_dir / "model"
    description, model = model_folder.load(folder).artefact.description, onnx.load(folder / model_folder.GRAPH_FILE)
    outputs = model_folder.classify(uncalibrated(folder, model), Path(config.data.folder), records)
    evidence = outputs.heatmaps.astype(np.float64)  # [N, h, w]
    variant = description.variants[model_folder.FP32]

    temperature, bias = fit_logistic(evidence.mean((1, 2)), truth)
    probability = expit(evidence.mean((1, 2)) / temperature + bias)
    thresholds, zone = find_zone(truth[shifted], probability[shifted], config.calibrate.target)

    graph.set_calibration(model, temperature, bias)
    temperature, bias = graph.calibration(model)  # in float32, as they are computed with
    calibrated = msgspec.structs.replace(
        description,
        variants={model_folder.FP32: msgspec.structs.replace(variant, temperature=temperature, bias=bias)},
        thresholds=thresholds,
        novelty=NoveltyCutoffs(
            unusual=float(np.quantile(outputs.novelty, UNUSUAL)), foreign=float(np.quantile(outputs.novelty, FOREIGN))
        ),
        heatmap=Heatmap(grid=description.heatmap.grid, scale=float(np.quantile(np.abs(evidence), FULL_STRENGTH) / temperature)),
        metrics={"zone": zone},
    )
    model_folder.write(folder, model, calibrated)
    print(f"temperature {temperature:.3f}, bias {bias:+.3f}; uncertain {thresholds.screening:.4f}–{thresholds.rule_in:.4f}")
    for edge in ("sensitivity", "specificity"):
        if not zone[edge]["reached"]:
            print(f"  {edge}: {zone[edge]['images']} images cannot show {zone['target']}, only {zone[edge]['lower_bound']:.4f}")


def uncalibrated(folder: Path, model: onnx.ModelProto) -> Classifier:
    """`model` at temperature 1, so that calibrating again gives the same bits."""
    graph.set_calibration(model, temperature=1, bias=0)
    artefact = read_artefact(folder, model_folder.FP32)
    return Classifier(msgspec.structs.replace(artefact, graph=model.SerializeToString()))


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
