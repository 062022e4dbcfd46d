"""Writes `errors.html`: the images that a model classified wrongly, the most confident errors first.

The page shows images of the data set, so it stays in the run folder.
"""

import base64
import io
from html import escape
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib import colormaps
from PIL import Image

from service.model.classifier import Classifier, GreyImage
from training.data import manifest, splits
from training.graph.inference import Predictions

SIDE = 224
SHOWN = 60  # images of each split

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Errors of {name}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1d2429 }}
figure {{ display: inline-block; margin: 0 1rem 1.5rem 0; width: {width}px; max-width: 100%; vertical-align: top }}
img {{ display: block; max-width: 100%; background: #000 }}
figcaption {{ overflow-wrap: anywhere; font-size: 13px }}
</style>
<h1>Errors of {name}</h1>
<p>Each image is shown with its heat-map. Red is evidence for {positive}, blue is evidence against it. <strong>These are images
of the data set. Show them only to those who trained the model.</strong></p>
{sections}
"""


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
        sections.append(f"<h2>{split}: {len(wrong)} of {len(found.truth)}</h2>\n" + "\n".join(figures))
    name, positive = escape(description.name), escape(description.positive)
    path.write_text(PAGE.format(name=name, positive=positive, width=2 * SIDE, sections="\n".join(sections)), encoding="utf-8")


def _figure(classifier: Classifier, folder: Path, predictions: Predictions, index: int) -> str:
    record = predictions.records[index]
    grey = manifest.read_image(folder, record)
    buffer = io.BytesIO()
    Image.fromarray(np.hstack([_square(grey), _overlay(grey, classifier)])).save(buffer, "JPEG", quality=85)
    source = base64.b64encode(buffer.getvalue()).decode()
    positive = classifier.artefact.description.positive
    probability, novelty = predictions.probability[index], predictions.novelty[index]
    caption = f"{escape(record.path)}<br>{escape(positive)} {probability:.3f}, novelty {novelty:.1f}"
    return f'<figure><img alt="" src="data:image/jpeg;base64,{source}"><figcaption>{caption}</figcaption></figure>'


def _square(grey: GreyImage) -> GreyImage:
    """uint8 [SIDE, SIDE, 3]."""
    return np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BILINEAR).convert("RGB"))


def _overlay(grey: GreyImage, classifier: Classifier) -> npt.NDArray[np.uint8]:
    """uint8 [SIDE, SIDE, 3] with the heat-map over it; full colour means the same evidence in every image."""
    strength = classifier.classify([grey]).heatmaps[0] / classifier.artefact.description.heatmap.scale
    smooth = Image.fromarray(np.clip(strength, -1, 1)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    colour = colormaps["RdBu_r"](np.asarray(smooth) / 2 + 0.5)[..., :3] * 255
    return np.asarray(0.6 * _square(grey) + 0.4 * colour, dtype=np.uint8)
