"""A model whose prediction follows from the brightness of the image, so that the real service shows every state of the page.

Each of 7 × 7 places gives (grey − 128) / 16 of evidence, so a brighter image has a larger probability of pneumonia. The
novelty is the distance of the brightest pixel from white. Labels and metrics come from the default model."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime

from service.model.classifier import self_test_image
from tests.conftest import DEFAULT_MODEL
from tests.torture.toy import SIDE, write_folder

GRID = 7
UNUSUAL, FOREIGN = 50.0, 100.0
STRIPES = 3 * GRID  # they cancel within each place, and give the picture contrast
THRESHOLDS = {"screening": 0.0262, "balanced": 0.5, "rule_in": 0.6748}
COPIED = ("labels", "positive", "ages", "data", "metrics", "backbone", "weights")
METRICS = {  # made up; the page shows them
    "elsewhere": {
        "North": {
            "all": {
                "images": {"negative": 150, "positive": 50},
                "auroc": {"value": 0.751, "interval": [0.7, 0.8]},
                "sensitivity": {"value": 0.9, "interval": [0.8, 0.95]},
                "specificity": {"value": 0.14, "interval": [0.1, 0.2]},
                "unusual": 198,
            }
        },
        "South": {
            "all": {
                "images": {"negative": 2, "positive": 98},
                "auroc": None,
                "sensitivity": None,
                "specificity": None,
                "unusual": 1,
            }
        },
    },
    "shortcuts": {"follows": {f"property_{number}": [0.1 * number, -0.05] for number in range(7)}},
}
GRAPH = """
<ir_version: 10, opset_import: ["" : 19]>
grey_levels (seq(uint8[height, width]) images) => (float[n, 2] probabilities, float[n, 7, 7] heatmaps, float[n] novelty)
<float one = {1}, float middle = {128}, float step = {16}, float white = {255},
 int64[2] leading = {0, 1}, int64[1] first = {0}, int64[4] places = {1, 1, 7, 7}>
{
    count = SequenceLength(images)
    positives, heatmaps, novelty = Loop <
        body = each_image (int64 index, bool more) => (bool again, float[1] positive, float[7, 7] map, float distance) {
            image = SequenceAt(images, index)
            grey = Cast <to = 1> (image)
            planes = Unsqueeze(grey, leading)
            small = Resize <mode = "linear", antialias = 1> (planes, , , places)
            levels = Squeeze(small, leading)
            centred = Sub(levels, middle)
            map = Div(centred, step)
            logit = ReduceMean <keepdims = 0> (map)
            probability = Sigmoid(logit)
            positive = Unsqueeze(probability, first)
            brightest = ReduceMax <keepdims = 0> (grey)
            distance = Sub(white, brightest)
            again = Identity(more)
        }
    > (count, "")
    negatives = Sub(one, positives)
    probabilities = Concat <axis = 1> (negatives, positives)
}
"""


def write_model(folder: Path, metrics: Mapping[str, Any] = METRICS, **changes: object) -> Path:  # Any: a tree of numbers
    """`metrics` replaces some of those of the default model, `changes` other parts of `model.json`."""
    graph = onnx.parser.parse_model(GRAPH)
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    probability = float(session.run(None, {"images": [self_test_image(SIDE, SIDE)]})[0][0, 1])
    default = default_description()
    self_test = {**default["self_test"], "height": SIDE, "width": SIDE}
    self_test |= {"probability": {"fp32": probability}, "tolerance": {"fp32": 0.001}}
    own = {"novelty": {"unusual": UNUSUAL, "foreign": FOREIGN}, "heatmap": {"grid": [GRID, GRID], "scale": 4.0}}
    copied = {key: default[key] for key in COPIED} | {"thresholds": THRESHOLDS}
    copied |= {"metrics": default["metrics"] | dict(metrics)} | changes
    return write_folder(folder / "model", graph, name="grey-levels", self_test=self_test, **own, **copied)


def default_description() -> dict[str, Any]:  # Any: JSON
    return dict(json.loads((DEFAULT_MODEL / "model.json").read_text()))


def image_for(probability: float, *, brightest: int = 255, size: tuple[int, int] = (240, 300)) -> npt.NDArray[np.uint8]:
    """uint8 [height, width] for which the model predicts `probability`; `brightest` 180 is unusual to it, 100 foreign."""
    height, width = size
    y, _ = np.mgrid[0 : 2 : height * 1j, 0 : 2 : width * 1j]
    mean = 128 + 16 * np.log(probability / (1 - probability))
    amplitude = min(60, mean - 1, brightest - 1 - mean)
    picture = np.clip(mean + amplitude * np.sin(STRIPES * np.pi * y), 0, brightest - 1)
    picture[0, 0] = brightest
    return np.asarray(np.rint(picture), dtype=np.uint8)
