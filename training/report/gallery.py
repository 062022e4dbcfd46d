"""Writes `errors.html`: the images that a model classified wrongly, the most confident errors first.

The page shows images of the data set, so it stays in the run folder."""

import base64
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image

from service.model.classifier import Classifier, GreyImage
from training.data import manifest, splits
from training.graph.inference import Predictions
from training.report import template

SIDE = 224
SHOWN = 60  # images of each split


def write(path: Path, classifier: Classifier, folder: Path, predictions: dict[str, Predictions]) -> None:
    """`predictions`: by split; those of the test fold are left out, so that nobody looks at it to choose the next model."""
    description = classifier.artefact.description
    sections = []
    for split, found in predictions.items():
        if split == splits.TEST:
            continue
        wrong = np.flatnonzero((found.probability >= 0.5) != found.truth)
        most_confident = wrong[np.argsort(-np.abs(found.probability[wrong] - 0.5), kind="stable")][:SHOWN]
        figures = [_figure(classifier, folder, found, index) for index in most_confident]
        sections.append({"split": split, "wrong": len(wrong), "images": len(found.truth), "figures": figures})
    context = {"name": description.name, "positive": description.positive, "width": 2 * SIDE, "sections": sections}
    path.write_text(template.fill("errors.html", context), encoding="utf-8")


def _figure(classifier: Classifier, folder: Path, predictions: Predictions, index: int) -> dict[str, str | float]:
    record = predictions.records[index]
    grey = manifest.read_image(folder, record)
    buffer = io.BytesIO()
    Image.fromarray(np.hstack([_square(grey), _overlay(grey, classifier)])).save(buffer, "JPEG", quality=85)
    jpeg = base64.b64encode(buffer.getvalue()).decode()
    figures = {"probability": float(predictions.probability[index]), "novelty": float(predictions.novelty[index])}
    return {"jpeg": jpeg, "path": record.path, **figures}


def _square(grey: GreyImage) -> GreyImage:
    """uint8 [SIDE, SIDE, 3]."""
    return np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BILINEAR).convert("RGB"))


def _overlay(grey: GreyImage, classifier: Classifier) -> npt.NDArray[np.uint8]:
    """uint8 [SIDE, SIDE, 3] with the heat-map over it; full colour means the same evidence in every image."""
    strength = classifier.classify([grey]).heatmaps[0] / classifier.artefact.description.heatmap.scale
    smooth = Image.fromarray(np.clip(strength, -1, 1)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    colour = colormaps["RdBu_r"](np.asarray(smooth) / 2 + 0.5)[..., :3] * 255
    return np.asarray(0.6 * _square(grey) + 0.4 * colour, dtype=np.uint8)
