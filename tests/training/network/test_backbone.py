import base64
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from tests.training.conftest import small_network
from training.config import Backbone, ConfigError
from training.data.batches import MEAN, STD
from training.network import backbone, weight_changes
from training.network.backbone import IMAGENET_MEAN, IMAGENET_STD
from training.vision import models


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2", "densenet121"])
def test_every_backbone_takes_grey_by_a_folded_stem_which_is_the_same_function_inside_the_border(name: str) -> None:
    network = backbone.build(Backbone(name=name, weights="none")).eval()  # type: ignore[arg-type]  # one of the literals
    with torch.inference_mode():
        assert network(torch.zeros(2, 1, 64, 64)).shape == (2, 2)
        assert network.features(torch.zeros(1, 1, 224, 224)).shape[2:] == (7, 7)
    torch.manual_seed(0)
    features = backbone.features_of(models.get_model(name, weights=None)).eval()
    convolution = next(module for module in features.modules() if isinstance(module, nn.Conv2d))
    norm = next(module for module in features.modules() if isinstance(module, nn.BatchNorm2d))
    norm.get_buffer("running_mean").normal_()
    grey = torch.rand(2, 1, 96, 96)
    colour = (grey.repeat(1, 3, 1, 1) - IMAGENET_MEAN.view(1, 3, 1, 1)) / IMAGENET_STD.view(1, 3, 1, 1)
    with torch.inference_mode():
        expected = norm(convolution(colour))
        backbone.fold_stem(features)
        found = norm(convolution((grey - MEAN) / STD))
    assert (found - expected)[..., 4:-4, 4:-4].abs().max() < 1e-4


def test_weights_come_from_a_file_without_its_classifier_and_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    donor, path = models.get_model("mobilenet_v2", weights=None, num_classes=7), tmp_path / "weights.safetensors"
    content = safetensors.torch.save(donor.state_dict())
    path.write_bytes(content)
    network = backbone.build(Backbone(name="mobilenet_v2", weights=str(path)))
    assert torch.equal(network.features.get_parameter("18.0.weight"), donor.features[-1][0].weight)
    for unusable, reason in ((b"", "header"), (b"hello", "header"), (content, "for another network")):
        path.write_bytes(unusable)
        with pytest.raises(ConfigError, match=rf"weights\.safetensors».*{reason}"):
            backbone.build(Backbone(name="resnet18", weights=str(path)))
    with pytest.raises(ConfigError, match=r"nothing\.safetensors».*No such file"):
        backbone.build(Backbone(weights="nothing.safetensors"))
    backbone.save(network, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"weights\.safetensors cannot be read"):
        backbone.load(Backbone(name="mobilenet_v2"), path)


def test_lower_layers_learn_more_slowly() -> None:
    network = small_network()
    groups = backbone.parameter_groups(network, rate=1.0, lowest_layer_rate=0.1)
    rates = [group["lr"] for group in groups]
    assert rates == sorted(rates) and (rates[0], rates[-1]) == (pytest.approx(0.1), 1.0)
    assert sum(len(group["params"]) for group in groups) == len(list(network.parameters()))


def test_changes_are_relative_to_a_stages_own_weights_every_parameter_counts_once_and_filters_read_back() -> None:
    before, after = small_network("resnet18"), small_network("resnet18")
    with torch.no_grad():
        for parameter in after.features.get_submodule("layer4").parameters():
            parameter.mul_(2)
    result = weight_changes.compare(before, after)
    changes = {stage["name"]: stage["change"] for stage in result["stages"]}
    assert changes == {"conv1": 0, "layer1": 0, "layer2": 0, "layer3": 0, "layer4": pytest.approx(1)}
    counted = sum(stage["parameters"] for stage in result["stages"]) + result["head_parameters"]
    assert counted + 2 * 64 == sum(parameter.numel() for parameter in after.parameters())  # of bn1, which has no convolution
    filters = result["filters"]
    levels = np.frombuffer(base64.b64decode(filters["after"]), np.uint8).reshape(filters["shape"]).astype(int)
    weight = after.features.get_parameter("conv1.weight").detach().numpy()[:, 0]
    assert filters["shape"] == list(weight.shape)
    assert np.abs((levels - 128) / 127 - weight / np.abs(weight).max((1, 2), keepdims=True)).max() < 0.005
