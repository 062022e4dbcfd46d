"""Converts a model for the peers that cannot run its graph, from model.onnx itself, so that the weights are the same.

weights.pt            for PyTorch: the state of torchvision's own module, with two outputs and three equal input channels
network.onnx          for OpenVINO, which has no sequences: everything behind the resize
network.int8.onnx     the same for int8, if the model has that variant
"""

from collections.abc import Sequence
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from service.model.artefact import read_description
from tests.benchmarks.servers import FP32, INT8
from training.data.batches import STD
from training.vision import models

WEIGHTS = "weights.pt"
NETWORKS = {FP32: "network.onnx", INT8: "network.int8.onnx"}
STEMS = ("conv1", "features.0.0")  # torchvision's names for the convolution that takes the image


def write(model: Path, work: Path) -> None:
    """Writes all files into `work`. Raises ArtefactError if `model` is not a model folder."""
    description = read_description(model)
    graphs = {name: onnx.load(model / variant.file) for name, variant in description.variants.items()}
    work.mkdir(parents=True, exist_ok=True)
    for name, graph in graphs.items():
        onnx.save(behind_resize(graph, description.image_size, ["probabilities"]), work / NETWORKS[name])
    positive = description.labels.index(description.positive)
    torch.save(torch_state(graphs[FP32], description.backbone, positive), work / WEIGHTS)


def behind_resize(model: onnx.ModelProto, size: int, outputs: Sequence[str]) -> onnx.ModelProto:
    """Cuts the graph: from resized images, grey levels float32 [N, 1, size, size], to some of its tensors."""
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
    """Makes torchvision's module give the graph's probabilities, with as many operations as any fitted weights need.

    The graph's convolutions contain their batch norms, so each norm only adds the bias here. The head is
    p₊ = sigmoid(w · mean(f) / temperature + bias), which is the softmax over half of that logit and its negative.
    """
    module = models.get_model(backbone, weights=None, num_classes=2)
    values = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
    inputs = [node.input for node in model.graph.node if node.op_type == "Conv" and "network.features." in node.input[1]]
    layers = {
        weight.partition("network.features.")[2].removesuffix(".weight"): (values[weight], values[bias])
        for _, weight, bias in inputs
    }
    named = [(name, each) for name, each in module.named_modules() if isinstance(each, nn.Conv2d)]
    norms = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
    for (name, convolution), norm in zip(named, norms, strict=True):  # in both networks each norm follows its convolution
        kernel, bias = layers[name.removeprefix("features.")]
        if name in STEMS:
            kernel = kernel.expand(-1, 3, -1, -1) / 3 * 255 * STD  # the graph's stem takes grey levels less their mean
        convolution.weight = nn.Parameter(kernel.contiguous())
        norm.running_var = torch.full_like(norm.get_buffer("running_var"), 1 - norm.eps)
        norm.bias = nn.Parameter(bias)
    head = [each for each in module.modules() if isinstance(each, nn.Linear)][-1]
    sign = torch.tensor([1.0 if row == positive else -1.0 for row in range(2)])
    head.weight = nn.Parameter(sign[:, None] * values["evidence_weight"].reshape(-1) / values["temperature"] / 2)
    head.bias = nn.Parameter(sign * values["bias"] / 2)
    return dict(module.state_dict())
