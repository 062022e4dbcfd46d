"""Replaces the network inside the served graph by another form of it.

The network is the part between `pixels` and the feature maps at two depths; `assembly` wrote the rest."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference
from onnx.utils import Extractor

INPUT, MAPS = "pixels", ["middle_features", "features"]
BLOCK = 2  # side of the blocks of `space_to_depth`: the stride of every stem


def network_of(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network alone, pixels float32 [N, 1, S, S] to both maps. Convolutions are named as their layers in torch."""
    network: onnx.ModelProto = Extractor(model).extract_model([INPUT], MAPS)
    for node in network.graph.node:
        node.name = layer(node) if node.op_type == "Conv" else node.output[0]
    return network


def with_network(model: onnx.ModelProto, network: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of `model` with its own network replaced by `network`."""
    own = network_of(model).graph
    outputs, tensors = {node.output[0] for node in own.node}, {tensor.name for tensor in own.initializer}
    before = [node for node in model.graph.node if node.output[0] not in outputs]
    whole = onnx.ModelProto()
    whole.CopyFrom(model)
    del whole.graph.node[:], whole.graph.initializer[:], whole.graph.value_info[:]
    at = next(i for i, node in enumerate(model.graph.node) if node.output[0] in outputs)
    whole.graph.node.extend([*before[:at], *network.graph.node, *before[at:]])
    whole.graph.initializer.extend(tensor for tensor in model.graph.initializer if tensor.name not in tensors)
    whole.graph.initializer.extend(network.graph.initializer)
    whole.graph.value_info.extend(value for value in model.graph.value_info if value.name in (INPUT, *MAPS))
    onnx.checker.check_model(whole, full_check=True)
    return whole


def with_outputs(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy of `model` with some of its internal float32 values as further outputs."""
    more = onnx.ModelProto()
    more.CopyFrom(model)
    known = {value.name for value in (*model.graph.input, *model.graph.output)}
    added = [name for name in names if name not in known]
    more.graph.output.extend(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in added)
    return more


def space_to_depth(network: onnx.ModelProto) -> onnx.ModelProto:
    """The same function with a faster stem: 2 × 2 blocks of pixels become four channels, and the stride becomes 1.

    With one channel, ONNX Runtime's int8 convolution has too little to multiply at a time. In float32 this form is no slower.
    """
    network = onnx.ModelProto.FromString(network.SerializeToString())
    stem = next(node for node in network.graph.node if node.op_type == "Conv")
    weight = next(tensor for tensor in network.graph.initializer if tensor.name == stem.input[1])
    filters = numpy_helper.to_array(weight)  # [out, 1, side, side]
    channels, side, margin = len(filters), filters.shape[2], attribute(stem, "pads")[0]
    before, after = -(-margin // BLOCK), (side - 1 - margin) // BLOCK  # blocks that the filter reaches on each side
    blocks = before + 1 + after
    first = BLOCK * before - margin
    wide = np.zeros((channels, blocks * BLOCK, blocks * BLOCK), np.float32)
    wide[:, first : first + side, first : first + side] = filters[:, 0]
    deep = wide.reshape(channels, blocks, BLOCK, blocks, BLOCK).transpose(0, 2, 4, 1, 3)  # the channel order of SpaceToDepth
    weight.CopyFrom(numpy_helper.from_array(deep.reshape(channels, BLOCK * BLOCK, blocks, blocks), weight.name))
    pads = [before, before, after, after]
    attributes = {"group": 1, "kernel_shape": [blocks, blocks], "pads": pads, "strides": [1, 1]}
    stem.ClearField("attribute")
    stem.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    stem.input[0] = "blocks"
    network.graph.node.insert(0, helper.make_node("SpaceToDepth", [INPUT], ["blocks"], "blocks", blocksize=BLOCK))
    return shape_inference.infer_shapes(network)


def attribute(node: onnx.NodeProto, name: str) -> Any:  # Any: an attribute may have any type
    return next(helper.get_attribute_value(found) for found in node.attribute if found.name == name)


def layer(convolution: onnx.NodeProto) -> str:
    """The layer's name in torch, taken from the name of its weight."""
    weight: str = convolution.input[1]
    return weight.removeprefix("network/").removeprefix("network.").removesuffix(".weight")
