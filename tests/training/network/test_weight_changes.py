import base64

import numpy as np
import pytest
import torch

from tests.training.network.test_tuning import small
from training.network import weight_changes


def test_what_did_not_move_has_not_changed_and_what_doubled_has_changed_by_its_own_length() -> None:
    before, after = small(), small()
    with torch.no_grad():
        for parameter in after.features.get_submodule("layer4").parameters():
            parameter.mul_(2)
    changes = {stage["name"]: stage["change"] for stage in weight_changes.compare(before, after)["stages"]}
    assert changes == {"conv1": 0, "layer1": 0, "layer2": 0, "layer3": 0, "layer4": pytest.approx(1)}


def test_every_parameter_is_counted_once() -> None:
    network = small()
    result = weight_changes.compare(network, network)
    counted = sum(stage["parameters"] for stage in result["stages"]) + result["head_parameters"]
    norm = sum(parameter.numel() for parameter in network.features.get_submodule("bn1").parameters())
    assert counted + norm == sum(parameter.numel() for parameter in network.parameters())


def test_the_filters_read_back() -> None:
    network = small()
    filters = weight_changes.compare(network, network)["filters"]
    levels = np.frombuffer(base64.b64decode(filters["before"]), np.uint8).reshape(filters["shape"]).astype(int)
    weight = network.features.get_parameter("conv1.weight").detach().numpy()[:, 0]
    assert filters["shape"] == list(weight.shape)
    for level, values in zip(levels, weight, strict=True):
        assert np.abs((level - 128) / 127 - values / np.abs(values).max()).max() < 0.005
