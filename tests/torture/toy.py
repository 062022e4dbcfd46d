"""A tiny model folder, for faults that real ones lack: its probability is the mean grey level, and all white never ends."""

import json
from pathlib import Path

import onnx

from service.model.artefact import write_sums
from service.model.classifier import SELF_TEST_FORMULA, self_test_image

SIDE = 64  # pixels
GRAPH = """
<ir_version: 10, opset_import: ["" : 19]>
toy (seq(uint8[h, w]) images) => (float[n, 2] probabilities, float[n, 1, 1] heatmaps, float[n] novelty)
<float one = {1}, float zero = {0}, float scale = {SCALE}, float white = {254.5}, bool yes = {1},
 int64 forever = {4611686018427387904}, int64[1] first = {0}, int64[2] grid = {1, 1}>
{
  count = SequenceLength (images)
  bright, heatmaps, novelty = Loop (count, yes) <body = each_image
    (int64 index, bool go_on) => (bool goes_on, float[1] bright_one, float[1, 1] map, float novelty_one) {
      image = SequenceAt (images, index)
      grey = Cast <to = 1> (image)
      mean = ReduceMean <keepdims = 0> (grey)
      is_white = Greater (mean, white)
      mean_after = Loop (forever, is_white, mean) <body = turn (int64 turn, bool on, float old) => (bool still_on, float new) {
          still_on = Identity (on)
          new = Identity (old)
        }>
      share = Div (mean_after, scale)
      bright_one = Unsqueeze (share, first)
      map = Expand (share, grid)
      novelty_one = Mul (share, zero)
      goes_on = Identity (go_on)
    }>
  dark = Sub (one, bright)
  probabilities = Concat <axis = 1> (dark, bright)
}
"""
DESCRIPTION = """
{"schema_version": 1, "name": "toy", "labels": ["DARK", "BRIGHT"], "positive": "BRIGHT", "prior": 0.5,
 "thresholds": {"screening": 0.4, "balanced": 0.5, "rule_in": 0.6}, "novelty": {"unusual": 1.0, "foreign": 2.0},
 "heatmap": {"grid": [1, 1], "scale": 1.0}, "backbone": "none", "weights": "none", "image_size": 64, "created": "2026-01-01"}
"""


def write_folder(folder: Path, graph: onnx.ModelProto | None = None, **changes: object) -> Path:
    folder.mkdir(parents=True)
    content = (graph or model()).SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    variant = {"file": "model.onnx", "bytes": len(content), "temperature": 1.0, "bias": 0.0}
    probability = float(self_test_image(SIDE, SIDE).mean() / 255)
    self_test = {"height": SIDE, "width": SIDE, "formula": SELF_TEST_FORMULA}
    self_test |= {"probability": {"fp32": probability}, "tolerance": {"fp32": 0.001}}
    description = json.loads(DESCRIPTION) | {"variants": {"fp32": variant}, "self_test": self_test}
    (folder / "model.json").write_text(json.dumps(description | changes))
    write_sums(folder, ["model.json", "model.onnx"])
    return folder


def model(scale: float = 255.0) -> onnx.ModelProto:
    return onnx.parser.parse_model(GRAPH.replace("SCALE", str(scale)))


def model_with_external_data(location: str) -> onnx.ModelProto:
    """The same graph, whose constant `scale` claims to be in the file at `location`."""
    graph = model()
    constant = next(value for value in graph.graph.initializer if value.name == "scale")
    constant.ClearField("float_data")
    constant.data_location = onnx.TensorProto.EXTERNAL
    constant.external_data.add(key="location", value=location)
    return graph
