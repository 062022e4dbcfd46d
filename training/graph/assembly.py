"""Assembles the exported ONNX graph: preprocessing, network, head, calibration, heat-map and novelty.

    images         sequence of uint8 [height, width]  of any and of different sizes
    probabilities  float32 [N, 2]                     in the order of the labels
    heatmaps       float32 [N, h, w]                  calibrated logits: evidence for the positive label at each place
    novelty        float32 [N]                        Mahalanobis distance of the features at two depths

To add an output, compute it in HEAD and name it there and in `service.model.classifier.Outputs`.

Only the network comes from torch's exporter. The rest is written here in ONNX's text form, because its operators were chosen
by measurement: `Loop` with a stacked output (`SequenceMap` copies the sequence at every step), `Resize` on floats (agrees with
torch, and is faster than on uint8), and `GlobalAveragePool`, `GlobalLpPool` and 1 × 1 convolutions for sums (an image alone and
in a batch gives the same bits; `ReduceMean` and `MatMul` do not guarantee that)."""

import logging
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnx import compose, numpy_helper, parser
from sklearn.decomposition import PCA
from torch import nn

from training.data.batches import MEAN, STD
from training.network.backbone import Network

OPSET = 18  # the first with antialiased Resize
IR_VERSION = 10
NOVELTY_COMPONENTS = 64
NOVELTY_FEATURES = "novelty_features"  # inside the graph, [N, C, 1, 1]: means of the middle map's quarters, and of the last map

Floats = npt.NDArray[np.floating]

PREPROCESSING = """
<ir_version: {ir}, opset_import: ["": {opset}]>
preprocessing (seq(uint8[H, W]) images) => (float[N, 1, {size}, {size}] pixels)
<float mean = {{{mean}}}, int64[4] square = {{1, 1, {size}, {size}}},
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
  pixels = Sub (squares, mean)
}}
"""

HEAD = """
<ir_version: {ir}, opset_import: ["": {opset}]>
head (float[N, {channels}, h, w] features, float[N, {middle}, {half2}, {half2}] middle_features)
  => (float[N, 2] probabilities, float[N, h, w] heatmaps, float[N] novelty)
<float temperature = {{1}}, float bias = {{0}},
 int64[1] channel = {{1}}, int64[4] column = {{0, -1, 1, 1}}, int64[4] row = {{0, 1, -1, 1}}, int64[3] all = {{1, 2, 3}}>
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

  quarters = AveragePool <kernel_shape = [{half}, {half}], strides = [{half}, {half}]> (middle_features)
  quarters_column = Reshape (quarters, column)
  pooled = GlobalAveragePool (features)
  novelty_features = Concat <axis = 1> (quarters_column, pooled)
  deviations = Sub (novelty_features, novelty_mean)
  scaled = Mul (deviations, novelty_scale)
  scaled_row = Reshape (scaled, row)
  length = GlobalLpPool <p = 2> (scaled_row)
  components = Conv (deviations, novelty_components)
  components_row = Reshape (components, row)
  explained = GlobalLpPool <p = 2> (components_row)
  longer = Add (length, explained)
  shorter = Sub (length, explained)
  squared = Mul (longer, shorter)
  distance = Sqrt (squared)
  novelty = Squeeze (distance, all)
}}
"""


class Whitening(NamedTuple):
    """The Mahalanobis distance of x is √(|scale · (x − mean)|² − |components · (x − mean)|²)."""

    mean: Floats  # [C]
    scale: Floats  # [C]
    components: Floats  # [K, C]


def whiten(features: Floats, channels: int) -> Whitening:
    """Fits a Gaussian to the novelty features [N, C] of training images, by probabilistic PCA (Tipping & Bishop 1999).

    K leading directions have their own variance and all others share one, so a few thousand images determine it. As a measure
    of what is foreign to a network: Lee et al. 2018, arXiv 1807.03888. Each of the two depths, of which the last has `channels`
    features, is first scaled to an average variance of 1."""
    depths = np.split(features.var(0, dtype=np.float64), [-channels])
    block_scale = np.concatenate([np.full(len(variance), variance.mean() ** -0.5) for variance in depths])
    components = min(NOVELTY_COMPONENTS, (min(features.shape) - 1) // 2)  # leaves directions to measure the noise in
    pca = PCA(components, svd_solver="full").fit(features * block_scale)
    # scikit-learn averages the noise over the directions that the images span; with fewer images than features, the other
    # directions count too.
    spanned, all_directions = min(features.shape) - components, features.shape[1] - components
    noise = pca.noise_variance_ * spanned / all_directions
    scale = block_scale * noise**-0.5
    directions = np.sqrt(1 - noise / pca.explained_variance_)[:, None] * pca.components_
    return Whitening(pca.mean_ / block_scale, scale, directions * scale)


class FeatureMaps(nn.Module):
    """A network's feature maps at two depths."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.network.feature_maps(pixels)


def export_network(network: Network, size: int) -> onnx.ModelProto:
    """Exports the backbone: pixels float32 [N, 1, size, size], grey levels minus their mean, to middle_features float32
    [N, B, size / 16, size / 16] and features [N, C, size / 32, size / 32].

    The exporter folds the batch norms into the convolutions; the grey levels' standard deviation is folded into the stem here.
    """
    example = torch.zeros(2, 1, size, size)  # a batch of 1 would make the batch dimension a constant
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter calls deprecated functions of its own
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            FeatureMaps(network.cpu().eval()), (example,), dynamo=True, verbose=False, opset_version=OPSET,
            input_names=["pixels"], output_names=["middle_features", "features"], dynamic_shapes=({0: torch.export.Dim("N")},),
        )  # fmt: skip
    assert program is not None  # dynamo=True returns the program
    model = program.model_proto
    for node in model.graph.node:  # both hold stack traces with paths of this machine
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    del model.graph.value_info[:]
    model.ir_version = IR_VERSION
    stem = next(node.input[1] for node in model.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == stem)
    weight.CopyFrom(_tensor(stem, numpy_helper.to_array(weight) / (255 * STD)))
    return model


def assemble(
    network: onnx.ModelProto, size: int, weight: Floats, bias: float, labels: list[str], positive: str
) -> onnx.ModelProto:
    """The whole graph around an exported network, at temperature 1 and with novelty not yet fitted (`set_novelty`). `weight`
    [C] and `bias`: those of the head, positive label minus the other."""
    depth = {output.name: output.type.tensor_type.shape.dim[1].dim_value for output in network.graph.output}
    texts = {
        "ir": IR_VERSION, "opset": OPSET, "size": size, "half": size // 32, "half2": size // 16, "mean": 255 * MEAN,
        "channels": depth["features"], "middle": depth["middle_features"],
    }  # fmt: skip
    first, second = ("logit", "against") if labels[0] == positive else ("against", "logit")
    head = parser.parse_model(HEAD.format(first=first, second=second, **texts))
    head.graph.initializer.append(_tensor("evidence_weight", weight.reshape(1, -1, 1, 1)))
    features = 4 * depth["middle_features"] + depth["features"]
    unfitted = Whitening(np.zeros(features), np.ones(features), np.zeros((1, features)))
    head.graph.initializer.extend(_tensor(name, values) for name, values in _novelty_tensors(unfitted).items())

    model = parser.parse_model(PREPROCESSING.format(**texts))
    network = compose.add_prefix(network, "network/", rename_inputs=False, rename_outputs=False)
    model = compose.merge_models(model, network, [("pixels", "pixels")])
    model = compose.merge_models(model, head, [(name, name) for name in depth])
    del model.opset_import[1:]  # merging repeats it, which ONNX Runtime's quantiser refuses
    model.graph.name = model.producer_name = "medxfer"
    set_calibration(model, temperature=1, bias=bias)
    onnx.helper.set_model_props(model, {  # so that the file alone can be used
        "labels": ",".join(labels),
        "positive": positive,
        "images": "a list of greyscale images, uint8 [height, width], 0 black to 255 white, of any sizes",
        "disclaimer": "For education and research only. Not a medical device.",
    })  # fmt: skip
    onnx.checker.check_model(model, full_check=True)
    return model


def set_novelty(model: onnx.ModelProto, whitening: Whitening) -> None:
    """Changes `model` in place."""
    _set(model, _novelty_tensors(whitening))


def set_calibration(model: onnx.ModelProto, temperature: float, bias: float) -> None:
    """Changes `model` in place: the positive label's logit becomes mean(evidence) / temperature + bias."""
    _set(model, {"temperature": np.array(temperature), "bias": np.array(bias)})


def calibration(model: onnx.ModelProto) -> tuple[float, float]:
    """Temperature and bias, as the graph holds them."""
    values = {tensor.name: tensor for tensor in model.graph.initializer}
    return float(numpy_helper.to_array(values["temperature"])), float(numpy_helper.to_array(values["bias"]))


def _novelty_tensors(whitening: Whitening) -> dict[str, Floats]:
    mean, scale = whitening.mean.reshape(1, -1, 1, 1), whitening.scale.reshape(1, -1, 1, 1)
    return {"novelty_mean": mean, "novelty_scale": scale, "novelty_components": whitening.components[:, :, None, None]}


def _set(model: onnx.ModelProto, values: Mapping[str, npt.NDArray[np.generic]]) -> None:
    for tensor in model.graph.initializer:
        if tensor.name in values:
            tensor.CopyFrom(_tensor(tensor.name, values[tensor.name]))


def _tensor(name: str, values: npt.NDArray[np.generic]) -> onnx.TensorProto:
    return numpy_helper.from_array(values.astype(np.float32), name)
