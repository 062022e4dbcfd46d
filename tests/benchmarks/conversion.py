"""What peers that cannot run the graph are given instead of it, made from model.onnx itself: the same weights.

weights.pt            for PyTorch: the state of torchvision's own module with a head of two outputs, for three equal channels
network.onnx          for OpenVINO, which has no sequences: all behind the resize
network.int8.onnx     likewise, if the model has that variant
phantoms.npz          stretched images for OpenVINO's quantiser, and some with the probabilities that are expected of them
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from PIL import Image
from torch import nn

from service.model.artefact import read_description
from service.model.classifier import Floats, GreyImage
from tests.benchmarks.agreement import Question
from tests.benchmarks.images import drawings
from tests.benchmarks.servers import FP32, INT8
from training.data.batches import STD
from training.vision import models

WEIGHTS, PHANTOMS = "weights.pt", "phantoms.npz"
NETWORKS = {FP32: "network.onnx", INT8: "network.int8.onnx"}
REPRESENTATIVE = 300  # images, as OpenVINO's documentation has it
STEMS = ("conv1", "features.0.0")  # the convolution that takes the image, as either backbone calls it


def write(model: Path, work: Path, asked: Sequence[Question]) -> None:
    """All of them, into `work`. Raises ArtefactError: `model` is not a model folder."""
    description = read_description(model)
    graphs = {name: onnx.load(model / variant.file) for name, variant in description.variants.items()}
    work.mkdir(parents=True, exist_ok=True)
    for name, whole in graphs.items():
        onnx.save(behind_resize(whole, description.image_size, ["probabilities"]), work / NETWORKS[name])
    positive = description.labels.index(description.positive)
    torch.save(torch_state(graphs[FP32], description.backbone, positive), work / WEIGHTS)
    np.savez(
        work / PHANTOMS,
        representative=np.stack([stretched(drawing, description.image_size) for drawing in drawings(REPRESENTATIVE, seed=2)]),
        asked=np.stack([stretched(question.grey, description.image_size) for question in asked]),
        expected=np.array([question.expected for question in asked]),
        positive=positive,
    )


def stretched(grey: GreyImage, size: int) -> GreyImage:
    """As the graph does it, but for the rounding to whole grey levels."""
    return np.asarray(Image.fromarray(grey).resize((size, size), Image.Resampling.BILINEAR))


def behind_resize(model: onnx.ModelProto, size: int, outputs: Sequence[str]) -> onnx.ModelProto:
    """From the stretched images, grey levels float32 [N, 1, size, size], to some of the graph's tensors, in one name space."""
    [loop] = [node for node in model.graph.node if node.op_type == "Loop"]
    wanted, nodes = set(outputs), []
    for node in reversed(model.graph.node):
        if node is not loop and wanted & set(node.output):
            nodes.append(node)
            wanted |= set(node.input)
    graph = onnx.helper.make_graph(
        nodes[::-1],
        "network",
        [onnx.helper.make_tensor_value_info(loop.output[0], onnx.TensorProto.FLOAT, ["N", 1, size, size])],
        [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [tensor for tensor in model.graph.initializer if tensor.name in wanted],
    )
    opsets = {opset.domain: opset for opset in model.opset_import}  # a merged graph may name one several times
    cut = onnx.helper.make_model(graph, opset_imports=list(opsets.values()), ir_version=model.ir_version)
    return onnx.shape_inference.infer_shapes(cut)


def torch_state(model: onnx.ModelProto, backbone: str, positive: int) -> dict[str, torch.Tensor]:
    """Loaded into torchvision's module it gives the graph's probabilities, by as many operations as any fitted weights."""
    module = models.get_model(backbone, weights=None, num_classes=2)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    _fill(module, _convolutions(model, values))
    _fill_head(module, values, positive)
    return dict(module.state_dict())


def _convolutions(model: onnx.ModelProto, values: Mapping[str, Floats]) -> dict[str, tuple[Floats, Floats]]:
    """Weight and bias by the name that the layer has in torch."""
    inputs = [node.input for node in model.graph.node if node.op_type == "Conv" and "network.features." in node.input[1]]
    return {
        weight.partition("network.features.")[2].removesuffix(".weight"): (values[weight], values[bias])
        for _, weight, bias in inputs
    }


def _fill(module: nn.Module, convolutions: Mapping[str, tuple[Floats, Floats]]) -> None:
    """The graph's convolutions have swallowed their batch norms; here each norm is left to add the bias, and nothing else."""
    modules = list(module.named_modules())
    norms = [each for _, each in modules if isinstance(each, nn.BatchNorm2d)]
    named = [(name, each) for name, each in modules if isinstance(each, nn.Conv2d)]
    for (name, convolution), norm in zip(named, norms, strict=True):  # in both networks each norm follows its convolution
        weight, bias = convolutions[name.removeprefix("features.")]
        kernel = torch.tensor(weight)
        if name in STEMS:
            kernel = kernel.expand(-1, 3, -1, -1) / 3 * 255 * STD  # the graph's takes grey levels less their mean
        convolution.weight = nn.Parameter(kernel.contiguous())
        norm.running_var = torch.full_like(norm.get_buffer("running_var"), 1 - norm.eps)
        norm.bias = nn.Parameter(torch.tensor(bias))


def _fill_head(module: nn.Module, values: Mapping[str, Floats], positive: int) -> None:
    """p₊ = sigmoid(w · mean(f) / temperature + bias): the softmax over half of that logit and its negative."""
    head = [each for each in module.modules() if isinstance(each, nn.Linear)][-1]
    weight = torch.tensor(values["evidence_weight"].reshape(-1) / values["temperature"]) / 2
    bias = torch.tensor(values["bias"]) / 2
    sign = torch.tensor([1.0 if row == positive else -1.0 for row in range(2)])
    head.weight, head.bias = nn.Parameter(sign[:, None] * weight), nn.Parameter(sign * bias)
