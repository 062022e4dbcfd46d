"""`errors.html`: what a model got wrong, the surest errors first.

It shows images of the data set, so it stays in the run folder.
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
from training.graph.predictions import Answers

SIDE = 224
SHOWN = 60  # of each split

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Errors of {name}</title>
<style>
body {{ font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: #1d2429 }}
figure {{ display: inline-block; margin: 0 1rem 1.5rem 0; width: {width}px; max-width: 100%; vertical-align: top }}
img {{ display: block; max-width: 100%; background: #000 }}
figcaption {{ overflow-wrap: anywhere; font-size: 13px }}
</style>
<h1>What {name} got wrong</h1>
<p>Beside each image its heat-map: red speaks for {positive}, blue against it. <strong>For the eyes of those who trained it:
these are images of the data set.</strong></p>
{sections}
"""


def write(path: Path, classifier: Classifier, folder: Path, answers: dict[str, Answers]) -> None:
    description = classifier.artefact.description
    sections = []
    for split, answer in answers.items():
        if split == splits.TEST:  # not for the eyes of those who choose the next model
            continue
        wrong = np.flatnonzero((answer.probability >= 0.5) != answer.truth)
        surest = wrong[np.argsort(-np.abs(answer.probability[wrong] - 0.5), kind="stable")][:SHOWN]
        figures = [_figure(classifier, folder, answer, index) for index in surest]
        sections.append(f"<h2>{split}: {len(wrong)} of {len(answer.truth)}</h2>\n" + "\n".join(figures))
    text = PAGE.format(
        name=escape(description.name), positive=escape(description.positive), width=2 * SIDE, sections="\n".join(sections)
    )
    path.write_text(text, encoding="utf-8")


def _figure(classifier: Classifier, folder: Path, answers: Answers, index: int) -> str:
    record = answers.records[index]
    grey = manifest.read_image(folder, record)
    picture = np.hstack([_square(grey), _overlay(grey, classifier)])
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=85)
    source = base64.b64encode(buffer.getvalue()).decode()
    positive = classifier.artefact.description.positive
    caption = (
        f"{escape(record.path)}<br>{escape(positive)} {answers.probability[index]:.3f}, novelty {answers.novelty[index]:.1f}"
    )
    return f'<figure><img alt="" src="data:image/jpeg;base64,{source}"><figcaption>{caption}</figcaption></figure>'


def _square(grey: GreyImage) -> GreyImage:
    """uint8 [SIDE, SIDE, 3]."""
    return np.asarray(Image.fromarray(grey).resize((SIDE, SIDE), Image.Resampling.BILINEAR).convert("RGB"))


def _overlay(grey: GreyImage, classifier: Classifier) -> npt.NDArray[np.uint8]:
    """The same, with the heat-map over it; full colour is the same evidence for every image."""
    strength = classifier.classify([grey]).heatmaps[0] / classifier.artefact.description.heatmap.scale
    smooth = Image.fromarray(np.clip(strength, -1, 1)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    colour = colormaps["RdBu_r"](np.asarray(smooth) / 2 + 0.5)[..., :3] * 255
    return np.asarray(0.6 * _square(grey) + 0.4 * colour, dtype=np.uint8)
