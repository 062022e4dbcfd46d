"""The one exported ONNX graph: preprocessing, network, head, calibration, heat-map and novelty.

    images     sequence of uint8 [height, width]      any and different sizes
    probabilities  float32 [N, 2]                     in the order of the labels
    heatmaps       float32 [N, h, w]                  calibrated logits: evidence for the positive label at each place
    novelty        float32 [N]                        Mahalanobis distance of the pooled features

Only the network comes from torch's exporter. What stands around it is written out here in ONNX's own text form, since
its operators were chosen by measurement: `Loop` with a stacked output (`SequenceMap` copies the sequence at every
step), `Resize` on floats (agrees with torch, and is faster than on uint8), `GlobalAveragePool`, `GlobalLpPool` and 1 × 1
convolutions for sums (an image alone and in a batch gives the same bits; `ReduceMean` and `MatMul` do not promise that).
"""

import logging
import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import compose, numpy_helper, parser
from sklearn.decomposition import PCA
from torch import nn

from training.data import MEAN, STD

OPSET = 18  # the first with antialiased Resize
IR_VERSION = 10
NOVELTY_COMPONENTS = 64

Floats = npt.NDArray[np.floating]

PREPROCESSING = """
<ir_version: {ir}, opset_import: ["": {opset}]>
preprocessing (seq(uint8[H, W]) images) => (float[N, 1, {size}, {size}] pixels)
<float mean = {{{mean}}}, float deviation = {{{deviation}}}, int64[4] square = {{1, 1, {size}, {size}}},
 int64[2] leading = {{0, 1}}, int64[1] first = {{0}}, bool yes = {{1}}>
{{
  count = SequenceLength (images)
  squares = Loop (count, yes) <body = stretch (int64 index, bool go) => (bool go_on, float[1, {size}, {size}] square_image) {{
    go_on = Identity (go)
    image = SequenceAt (images, index)
    grey = Cast <to = 1> (image)
    grey_4d = Unsqueeze (grey, leading)
    stretched = Resize <mode = "linear", antialias = 1, exclude_outside = 1,
                        coordinate_transformation_mode = "half_pixel"> (grey_4d, , , square)
    square_image = Squeeze (stretched, first)
  }}>
  centred = Sub (squares, mean)
  pixels = Div (centred, deviation)
}}
"""

HEAD = """
<ir_version: {ir}, opset_import: ["": {opset}]>
head (float[N, {channels}, h, w] features) => (float[N, 2] probabilities, float[N, h, w] heatmaps, float[N] novelty)
<float temperature = {{1}}, float bias = {{0}},
 int64[1] channel = {{1}}, int64[4] row = {{0, 1, -1, 1}}, int64[3] all = {{1, 2, 3}}>
{{
  evidence = Conv (features, evidence_weight)
  cells = Div (evidence, temperature)
  heatmaps = Squeeze (cells, channel)
  total = GlobalAveragePool (cells)
  logit = Add (total, bias)
  against = Neg (logit)
  logits = Concat <axis = 1> ({first}, {second})
  sigmoids = Sigmoid (logits)
  probabilities = Flatten (sigmoids)

  pooled = GlobalAveragePool (features)
  deviations = Sub (pooled, novelty_mean)
  components = Conv (deviations, novelty_down)
  explained = Conv (components, novelty_up)
  remaining = Sub (deviations, explained)
  whitened = Div (remaining, novelty_noise)
  whitened_row = Reshape (whitened, row)
  distance = GlobalLpPool <p = 2> (whitened_row)
  novelty = Squeeze (distance, all)
}}
"""


class Whitening(NamedTuple):
    """x ↦ (x − mean − up · down · (x − mean)) / noise, whose length is the Mahalanobis distance of x."""

    mean: Floats  # [C]
    down: Floats  # [K, C]
    up: Floats  # [C, K]
    noise: float


def whitening(features: Floats) -> Whitening:
    """Of pooled training features [N, C], under probabilistic PCA: K leading directions with their own variance, one common
    variance in all others, so that a few thousand images determine it (Tipping & Bishop 1999). As a measure of
    what is foreign to a network: Lee et al. 2018, arXiv 1807.03888."""
    components = min(NOVELTY_COMPONENTS, (min(features.shape) - 1) // 2)  # leaves directions to measure the noise in
    pca = PCA(components, svd_solver="full").fit(features.astype(np.float64))
    # scikit-learn's mean is over the directions that the images span; with fewer images than features, the others count too.
    spanned, all_directions = min(features.shape) - components, features.shape[1] - components
    noise = np.sqrt(pca.noise_variance_ * spanned / all_directions)
    shrink = 1 - noise / np.sqrt(pca.explained_variance_)
    return Whitening(pca.mean_, pca.components_, pca.components_.T * shrink, float(noise))


def export_network(features: nn.Module, size: int) -> onnx.ModelProto:
    """pixels float32 [N, 1, size, size] to features float32 [N, C, h, w], batch norms folded by the exporter."""
    example = torch.zeros(2, 1, size, size)  # a batch of 1 would make the batch dimension a constant
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the exporter's own deprecated calls
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            features.cpu().eval(), (example,), dynamo=True, verbose=False, opset_version=OPSET,
            input_names=["pixels"], output_names=["features"], dynamic_shapes=({0: torch.export.Dim("N")},),
        )  # fmt: skip
    assert program is not None  # dynamo=True returns the program
    model = program.model_proto
    for node in model.graph.node:  # stack traces with this machine's paths
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    del model.graph.value_info[:]
    model.ir_version = IR_VERSION
    return model


def assemble(
    network: onnx.ModelProto, size: int, weight: Floats, bias: float, novelty: Whitening, labels: list[str], positive: str
) -> onnx.ModelProto:
    """The whole graph at temperature 1. `weight` [C]: the head's, positive label less the other; `bias` likewise."""
    texts = {"ir": IR_VERSION, "opset": OPSET, "size": size, "channels": len(weight)}
    first, second = ("logit", "against") if labels[0] == positive else ("against", "logit")
    before = parser.parse_model(PREPROCESSING.format(mean=255 * MEAN, deviation=255 * STD, **texts))
    after = parser.parse_model(HEAD.format(first=first, second=second, **texts))
    after.graph.initializer.extend([
        _tensor("evidence_weight", weight.reshape(1, -1, 1, 1)),
        _tensor("novelty_mean", novelty.mean.reshape(1, -1, 1, 1)),
        _tensor("novelty_down", novelty.down[:, :, None, None]),
        _tensor("novelty_up", novelty.up[:, :, None, None]),
        _tensor("novelty_noise", np.array(novelty.noise)),
    ])  # fmt: skip
    network = compose.add_prefix(network, "network/", rename_inputs=False, rename_outputs=False)
    model = compose.merge_models(before, network, [("pixels", "pixels")])
    model = compose.merge_models(model, after, [("features", "features")])
    model.graph.name = model.producer_name = "medxfer"
    set_calibration(model, temperature=1, bias=bias)
    describe(model, labels, positive)
    onnx.checker.check_model(model, full_check=True)
    return model


def set_calibration(model: onnx.ModelProto, temperature: float, bias: float) -> None:
    """In place. The logit of the positive label becomes mean(evidence) / temperature + bias."""
    values = {"temperature": temperature, "bias": bias}
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(_tensor(tensor.name, np.array(values[tensor.name])))


def calibration(model: onnx.ModelProto) -> tuple[float, float]:
    """Temperature and bias, as they stand in the graph."""
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    return float(numpy_helper.to_array(values["temperature"])), float(numpy_helper.to_array(values["bias"]))


def describe(model: onnx.ModelProto, labels: list[str], positive: str) -> None:
    """So that the file alone can be used."""
    onnx.helper.set_model_props(model, {
        "labels": ",".join(labels),
        "positive": positive,
        "images": "a list of greyscale images, uint8 [height, width], 0 black to 255 white, of any sizes",
        "disclaimer": "For education and research only. Not a medical device.",
    })  # fmt: skip


def _tensor(name: str, values: npt.NDArray[np.generic]) -> onnx.TensorProto:
    return numpy_helper.from_array(values.astype(np.float32), name)
