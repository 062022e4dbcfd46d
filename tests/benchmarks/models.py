"""The models of the benchmark, and their conversion for the peers that cannot run our graph.
weights.pt            for PyTorch: the state of timm's own module, with two outputs and three equal input channels
network.onnx          for OpenVINO, which has no sequences: everything behind the resize
network.int8.onnx     the same for int8, if the model has that variant"""

import subprocess
import sys
from pathlib import Path

import msgspec
import onnx
import onnx.utils
import torch
from onnx import numpy_helper
from torch import nn

from service.model.artefact import SUMS, read_description
from tests.benchmarks import servers
from tests.benchmarks.client import BENCHMARKS
from tests.benchmarks.peers import network
from tests.benchmarks.servers import FP32, INT8
from tests.conftest import ROOT
from training.data.batches import STD

CONFIG = Path(__file__).with_name("resnet18.toml")
IMAGES = 600
NETWORKS = {FP32: "network.onnx", INT8: "network.int8.onnx"}


def resnet18() -> Path:
    """The folder of a ResNet-18, trained on phantoms once, which takes minutes on two CPUs."""
    folder = BENCHMARKS / "trained"
    data, model = str(folder / "phantoms"), folder / "resnet18"
    draw = ["phantoms", data, "--count", str(IMAGES), "--seed", "0"]
    train = ["train", "--data", data, "--config", str(CONFIG), "--run", str(folder / "run"), "--out", str(model)]

    def run() -> None:
        for arguments in (draw, train):
            subprocess.run([sys.executable, "-m", "training", *arguments], cwd=ROOT, check=True)

    servers.make_once(folder, CONFIG.read_bytes(), run)
    return model


def convert(model: Path) -> None:
    """Writes the peers' files, if the model or this file has changed."""
    description, work = read_description(model), servers.work_folder(model)

    def write() -> None:
        work.mkdir(parents=True)
        graphs = {name: onnx.load(model / variant.file) for name, variant in description.variants.items()}
        for name, graph in graphs.items():
            onnx.save(behind_resize(graph, description.image_size, "probabilities"), work / NETWORKS[name])
        positive = description.labels.index(description.positive)
        torch.save(torch_state(graphs[FP32], network.build(msgspec.to_builtins(description)), positive), work / "weights.pt")

    servers.make_once(work, (model / SUMS).read_bytes() + Path(__file__).read_bytes(), write)


def behind_resize(model: onnx.ModelProto, size: int, output: str) -> onnx.ModelProto:
    [squares] = [node.output[0] for node in model.graph.node if node.op_type == "Loop"]
    extractor = onnx.utils.Extractor(model)
    extractor.value_infos |= {
        squares: onnx.helper.make_tensor_value_info(squares, onnx.TensorProto.FLOAT, ["N", 1, size, size]),
        output: onnx.helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None),
    }
    cut = extractor.extract_model([squares], [output])
    opsets = {opset.domain: opset for opset in model.opset_import}  # a merged graph may name one several times
    del cut.opset_import[:]
    cut.opset_import.extend(opsets.values())
    return onnx.shape_inference.infer_shapes(cut)


def torch_state(model: onnx.ModelProto, module: nn.Module, positive: int) -> dict[str, torch.Tensor]:
    """Makes timm's `module` give the graph's probabilities, with as many operations as any fitted weights need.
    The graph's convolutions contain their batch norms, so each norm only adds the bias here. The head is
    p₊ = sigmoid(w · mean(f) / temperature + bias), which is the softmax over half of that logit and its negative."""
    values = {tensor.name: torch.tensor(numpy_helper.to_array(tensor)) for tensor in model.graph.initializer}
    inputs = [node.input for node in model.graph.node if node.op_type == "Conv" and "network.features." in node.input[1]]
    layers = {
        weight.partition("network.features.")[2].removesuffix(".weight"): (values[weight], values[bias])
        for _, weight, bias in inputs
    }
    named = [(name, each) for name, each in module.named_modules() if isinstance(each, nn.Conv2d)]
    norms = [each for each in module.modules() if isinstance(each, nn.BatchNorm2d)]
    for (name, convolution), norm in zip(named, norms, strict=True):  # in both networks each norm follows its convolution
        kernel, bias = layers[name]
        if name == named[0][0]:
            kernel = kernel.expand(-1, 3, -1, -1) / 3 * 255 * STD  # the graph's stem takes grey levels less their mean
        convolution.weight = nn.Parameter(kernel.contiguous())
        norm.running_var = torch.full_like(norm.get_buffer("running_var"), 1 - norm.eps)
        norm.weight = nn.Parameter(torch.ones_like(norm.weight))  # timm has zeros at the ends of a ResNet's blocks
        norm.bias = nn.Parameter(bias)
    head = [each for each in module.modules() if isinstance(each, nn.Linear)][-1]
    sign = torch.tensor([1.0 if row == positive else -1.0 for row in range(2)])
    head.weight = nn.Parameter(sign[:, None] * values["evidence_weight"].reshape(-1) / values["temperature"] / 2)
    head.bias = nn.Parameter(sign * values["bias"] / 2)
    return dict(module.state_dict())
