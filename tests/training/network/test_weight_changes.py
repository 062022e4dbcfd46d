import base64

import numpy as np
import pytest
import torch

from tests.training.network.small import small_network
from training.network import weight_changes


def test_the_change_of_a_stage_is_relative_to_its_own_weights() -> None:
    before, after = small_network(), small_network()
    with torch.no_grad():
        for parameter in after.features.get_submodule("layer4").parameters():
            parameter.mul_(2)
    changes = {stage["name"]: stage["change"] for stage in weight_changes.compare(before, after)["stages"]}
    assert changes == {"conv1": 0, "layer1": 0, "layer2": 0, "layer3": 0, "layer4": pytest.approx(1)}


def test_every_parameter_is_counted_once() -> None:
    network = small_network()
    result = weight_changes.compare(network, network)
    counted = sum(stage["parameters"] for stage in result["stages"]) + result["head_parameters"]
    assert counted + 2 * 64 == sum(parameter.numel() for parameter in network.parameters())  # of bn1, which has no convolution


def test_the_filters_read_back() -> None:
    network = small_network()
    filters = weight_changes.compare(network, network)["filters"]
    levels = np.frombuffer(base64.b64decode(filters["before"]), np.uint8).reshape(filters["shape"]).astype(int)
    weight = network.features.get_parameter("conv1.weight").detach().numpy()[:, 0]
    assert filters["shape"] == list(weight.shape)
    greatest = np.abs(weight).max((1, 2), keepdims=True)
    assert np.abs((levels - 128) / 127 - weight / greatest).max() < 0.005
