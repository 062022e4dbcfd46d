"""A model whose answer an image can choose, so that the real service shows every state of the page.

Each of 7 × 7 places gives (grey − 128) / 16 of evidence; the brighter the image, the surer «pneumonia». Novelty is how far
the brightest pixel is from white. All that the page tells of a model is borrowed from the default one's model.json.
"""

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
from onnx import TensorProto, helper

from service.model.classifier import self_test_image
from tests.conftest import DEFAULT_MODEL
from tests.torture.toy import SIDE, write_folder

GRID = 7
UNUSUAL, FOREIGN = 50.0, 100.0
STRIPES = 3 * GRID  # so that those of a place cancel, and the picture has contrast
BORROWED = ("labels", "positive", "thresholds", "ages", "data", "metrics", "backbone", "weights")


def write_model(folder: Path) -> Path:
    graph = _model()
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    probability = float(session.run(None, {"images": [self_test_image(SIDE, SIDE)]})[0][0, 1])
    default = json.loads((DEFAULT_MODEL / "model.json").read_text())
    toy = json.loads((write_folder(folder / "bare", graph, self_test=None) / "model.json").read_text())
    variant = toy["variants"]["fp32"]
    self_test = {**default["self_test"], "height": SIDE, "width": SIDE}
    self_test |= {"probability": {"fp32": probability}, "tolerance": {"fp32": 0.001}}
    return write_folder(
        folder / "model",
        graph,
        name="grey-levels",
        novelty={"unusual": UNUSUAL, "foreign": FOREIGN},
        heatmap={"grid": [GRID, GRID], "scale": 4.0},
        variants={"fp32": variant},
        self_test=self_test,
        **{key: default[key] for key in BORROWED},
    )


def image_for(probability: float, *, brightest: int = 255, size: tuple[int, int] = (240, 300)) -> npt.NDArray[np.uint8]:
    """uint8 [height, width]: a picture for which the model says so. `brightest`: 255 is typical, 180 unusual, 100 foreign."""
    height, width = size
    y, _ = np.mgrid[0 : 2 : height * 1j, 0 : 2 : width * 1j]
    wanted = 128 + 16 * np.log(probability / (1 - probability))
    room = min(60, wanted - 1, brightest - 1 - wanted)
    picture = np.clip(wanted + room * np.sin(STRIPES * np.pi * y), 0, brightest - 1)
    picture[0, 0] = brightest
    return np.asarray(np.rint(picture), dtype=np.uint8)


def _model() -> onnx.ModelProto:
    body = helper.make_graph(
        [
            helper.make_node("SequenceAt", ["images", "index"], ["image"]),
            helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["grey", "leading"], ["planes"]),
            helper.make_node("Resize", ["planes", "", "", "places"], ["small"], mode="linear", antialias=1),
            helper.make_node("Squeeze", ["small", "leading"], ["levels"]),
            helper.make_node("Sub", ["levels", "middle"], ["centred"]),
            helper.make_node("Div", ["centred", "step"], ["map"]),
            helper.make_node("ReduceMean", ["map"], ["logit"], keepdims=0),
            helper.make_node("Sigmoid", ["logit"], ["share"]),
            helper.make_node("Unsqueeze", ["share", "first"], ["positive"]),
            helper.make_node("ReduceMax", ["grey"], ["brightest"], keepdims=0),
            helper.make_node("Sub", ["white", "brightest"], ["novelty_one"]),
            helper.make_node("Identity", ["go_on"], ["goes_on"]),
        ],
        "each_image",
        [_value("index", TensorProto.INT64), _value("go_on", TensorProto.BOOL)],
        [
            _value("goes_on", TensorProto.BOOL),
            _value("positive", TensorProto.FLOAT, [1]),
            _value("map", TensorProto.FLOAT, [GRID, GRID]),
            _value("novelty_one", TensorProto.FLOAT),
        ],
    )
    nodes = [
        helper.make_node("SequenceLength", ["images"], ["count"]),
        helper.make_node("Loop", ["count", ""], ["positives", "heatmaps", "novelty"], body=body),
        helper.make_node("Sub", ["one", "positives"], ["negatives"]),
        helper.make_node("Concat", ["negatives", "positives"], ["probabilities"], axis=1),
    ]
    outputs: list[tuple[str, list[str | int]]] = [
        ("probabilities", ["n", 2]),
        ("heatmaps", ["n", GRID, GRID]),
        ("novelty", ["n"]),
    ]
    floats = {"one": 1.0, "middle": 128.0, "step": 16.0, "white": 255.0}
    whole = {"leading": [0, 1], "first": [0], "places": [1, 1, GRID, GRID]}
    constants = [onnx.numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in floats.items()]
    constants += [onnx.numpy_helper.from_array(np.asarray(value, np.int64), name) for name, value in whole.items()]
    graph = helper.make_graph(
        nodes,
        "grey-levels",
        [helper.make_tensor_sequence_value_info("images", TensorProto.UINT8, None)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape)) for name, shape in outputs],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)


def _value(name: str, kind: int, shape: list[int] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape or [])
