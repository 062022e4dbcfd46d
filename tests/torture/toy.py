"""A model folder of a few nodes that keeps the contract, for faults that a real model does not have.

Its probability is the mean grey level. An image that is all white never ends: a Loop that nothing stops.
"""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from service.model.artefact import write_sums
from service.model.classifier import SELF_TEST_FORMULA, self_test_image

WHITE = 254.5  # mean grey level
FOREVER = 2**62
SIDE = 64
GRID = 1


def write_folder(folder: Path, graph: onnx.ModelProto | None = None, **changes: object) -> Path:
    """`changes`: to model.json."""
    folder.mkdir(parents=True)
    content = (graph or model()).SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    description = {
        "schema_version": 1,
        "name": "toy",
        "labels": ["DARK", "BRIGHT"],
        "positive": "BRIGHT",
        "prior": 0.5,
        "thresholds": {"screening": 0.4, "balanced": 0.5, "rule_in": 0.6},
        "novelty": {"unusual": 1.0, "foreign": 2.0},
        "heatmap": {"grid": [GRID, GRID], "scale": 1.0},
        "variants": {"fp32": {"file": "model.onnx", "bytes": len(content), "temperature": 1.0, "bias": 0.0}},
        "self_test": {
            "height": SIDE,
            "width": SIDE,
            "formula": SELF_TEST_FORMULA,
            "probability": {"fp32": float(self_test_image(SIDE, SIDE).mean() / 255)},
            "tolerance": {"fp32": 0.001},
        },
        "backbone": "none",
        "weights": "none",
        "image_size": SIDE,
        "created": "2026-01-01",
    }
    (folder / "model.json").write_text(json.dumps(description | changes))
    write_sums(folder, ["model.json", "model.onnx"])
    return folder


def model(scale: float = 255.0) -> onnx.ModelProto:
    nodes = [
        helper.make_node("SequenceLength", ["images"], ["count"]),
        helper.make_node("Loop", ["count", ""], ["bright", "heatmaps", "novelty"], body=_each_image()),
        helper.make_node("Sub", ["one", "bright"], ["dark"]),
        helper.make_node("Concat", ["dark", "bright"], ["probabilities"], axis=1),
    ]
    images = helper.make_tensor_sequence_value_info("images", TensorProto.UINT8, None)
    outputs = [
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["n", 2]),
        helper.make_tensor_value_info("heatmaps", TensorProto.FLOAT, ["n", GRID, GRID]),
        helper.make_tensor_value_info("novelty", TensorProto.FLOAT, ["n"]),
    ]
    floats = {"one": 1.0, "zero": 0.0, "scale": scale, "white": WHITE}
    whole = {"forever": FOREVER, "first": [0], "grid": [GRID, GRID]}
    initializers = [onnx.numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in floats.items()]
    initializers += [onnx.numpy_helper.from_array(np.asarray(value, np.int64), name) for name, value in whole.items()]
    graph = helper.make_graph(nodes, "toy", [images], outputs, initializers)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=10)
    onnx.checker.check_model(made)
    return made


def _each_image() -> onnx.GraphProto:
    """Of the outer Loop: stacks a probability [1], a map [GRID, GRID] and a novelty []."""
    nodes = [
        helper.make_node("SequenceAt", ["images", "index"], ["image"]),
        helper.make_node("Cast", ["image"], ["grey"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["grey"], ["mean"], keepdims=0),
        helper.make_node("Greater", ["mean", "white"], ["is_white"]),
        helper.make_node("Loop", ["forever", "is_white", "mean"], ["mean_after"], body=_turn()),
        helper.make_node("Div", ["mean_after", "scale"], ["share"]),
        helper.make_node("Unsqueeze", ["share", "first"], ["bright_one"]),
        helper.make_node("Expand", ["share", "grid"], ["map"]),
        helper.make_node("Mul", ["share", "zero"], ["novelty_one"]),
        helper.make_node("Identity", ["go_on"], ["goes_on"]),
    ]
    inputs = [_value("index", TensorProto.INT64), _value("go_on", TensorProto.BOOL)]
    outputs = [
        _value("goes_on", TensorProto.BOOL),
        _value("bright_one", TensorProto.FLOAT, [1]),
        _value("map", TensorProto.FLOAT, [GRID, GRID]),
        _value("novelty_one", TensorProto.FLOAT),
    ]
    return helper.make_graph(nodes, "each_image", inputs, outputs)


def _turn() -> onnx.GraphProto:
    """Of the inner Loop: goes on for ever, or not at all where its condition is false at first."""
    nodes = [
        helper.make_node("Identity", ["turn_go_on"], ["turn_goes_on"]),
        helper.make_node("Identity", ["carried"], ["carried_on"]),
    ]
    inputs = [
        _value("turn", TensorProto.INT64),
        _value("turn_go_on", TensorProto.BOOL),
        _value("carried", TensorProto.FLOAT),
    ]
    outputs = [_value("turn_goes_on", TensorProto.BOOL), _value("carried_on", TensorProto.FLOAT)]
    return helper.make_graph(nodes, "turn", inputs, outputs)


def _value(name: str, kind: int, shape: list[int] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape or [])


def with_data_at(location: str) -> onnx.ModelProto:
    """Its largest constant said to be in another file."""
    made = model()
    constant = next(value for value in made.graph.initializer if value.name == "scale")
    constant.ClearField("raw_data")
    constant.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", "4")):
        constant.external_data.add(key=key, value=value)
    return made


if __name__ == "__main__":
    session = onnxruntime.InferenceSession(model().SerializeToString())
    print(session.run(None, {"images": [np.full((40, 50), 100, np.uint8), np.full((50, 30), 200, np.uint8)]}))
