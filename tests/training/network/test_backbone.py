import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from tests.training.conftest import small_network
from training.config import Backbone, ConfigError
from training.data.batches import MEAN, STD
from training.network import backbone, weight_changes
from training.vision import timm


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv2_100", "resnet18", "resnet50", "densenet121"])
def test_every_backbone_takes_grey_by_a_folded_stem_which_is_the_same_function_inside_the_border(name: str) -> None:
    network = backbone.build(Backbone(name=name, weights="none")).eval()
    with torch.inference_mode():
        assert network(torch.zeros(2, 1, 64, 64)).shape == (2, 2)
        middle, last = network.feature_maps(torch.zeros(1, 1, 224, 224))
        assert middle.shape[2:] == (14, 14) and last.shape[2:] == (7, 7)
        assert torch.equal(
            network.pooled(torch.ones(1, 1, 64, 64)), network.feature_maps(torch.ones(1, 1, 64, 64))[1].mean((2, 3))
        )
    torch.manual_seed(0)
    features = timm.create_model(name, num_classes=0).eval()
    convolution, norm = backbone.stem_of(features)
    assert convolution is not None and isinstance(norm, nn.BatchNorm2d)
    norm.get_buffer("running_mean").normal_()
    grey = torch.rand(2, 1, 96, 96)
    normalisation: Any = features.pretrained_cfg
    mean, std = (torch.tensor(normalisation[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    colour = (grey.repeat(1, 3, 1, 1) - mean) / std
    with torch.inference_mode():
        expected = norm(convolution(colour))
        backbone.fold_stem(features)
        found = norm(convolution((grey - MEAN) / STD))
    assert (found - expected)[..., 4:-4, 4:-4].abs().max() < 1e-4


@pytest.mark.parametrize(("name", "channels"), [("tf_efficientnet_lite0", 320), ("mobilenetv2_100", 320), ("resnet18", 512)])
def test_a_network_without_conv_head_ends_with_its_last_block(name: str, channels: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    choices = Backbone(name=name, weights="none", conv_head=False)
    network = backbone.build(choices).eval()
    whole: Any = timm.create_model(name, num_classes=0, features_only=True, in_chans=1).eval()
    whole.load_state_dict({key: network.features.state_dict()[key] for key in whole.state_dict()})
    grey = torch.rand(2, 1, 64, 64)
    with torch.inference_mode():
        maps = network.maps(grey)
        assert maps.shape[1] == network.head.in_features == channels
        assert torch.equal(maps, network.feature_maps(grey)[1])
        assert torch.allclose(maps, whole(grey)[-1], atol=1e-5)
    assert sum(map(len, backbone.layers(network.features))) == len([*network.features.parameters()])
    had_one = channels == 320
    assert backbone.left_out(network.features) == ["conv_head"] * had_one
    assert backbone.left_out(backbone.build(Backbone(name=name, weights="none")).features) == []
    backbone.save(network, tmp_path / "network.safetensors")
    assert torch.equal(backbone.load(choices, tmp_path / "network.safetensors").head.weight, network.head.weight)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mobilenet_v2", "is no network of timm; similar names are .*mobilenetv2_1"),
        ("vit_tiny_patch16_224", "cannot be used: its last maps are not 32 times smaller"),
        ("convnext_atto", "cannot be used: its first layer is not a convolution without a bias"),
    ],
)
def test_a_network_that_cannot_be_used_is_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(ConfigError, match=f"backbone.name = «{name}» {why}"):
        backbone.build(Backbone(name=name, weights="none"))


def test_weights_come_from_a_file_without_its_classifier(tmp_path: Path) -> None:
    donor: Any = timm.create_model("mobilenetv2_100", num_classes=7)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors.torch.save(donor.state_dict()))
    network = backbone.build(Backbone(name="mobilenetv2_100", weights=str(path)))
    assert torch.equal(network.features.get_parameter("conv_head.weight"), donor.conv_head.weight)


def test_a_networks_own_file_that_is_damaged_is_named(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    backbone.save(small_network(), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"weights\.safetensors cannot be read"):
        backbone.load(Backbone(), path)


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
    assert counted == sum(parameter.numel() for parameter in after.parameters())
    filters = result["filters"]
    levels = np.frombuffer(base64.b64decode(filters["after"]), np.uint8).reshape(filters["shape"]).astype(int)
    weight = after.features.get_parameter("conv1.weight").detach().numpy()[:, 0]
    assert filters["shape"] == list(weight.shape)
    assert np.abs((levels - 128) / 127 - weight / np.abs(weight).max((1, 2), keepdims=True)).max() < 0.005
