"""The network: a torchvision backbone whose stem takes one grey channel, global average pooling, and a linear head.
To offer another, add its name to `config.Backbone` and, if torchvision keeps its layers otherwise, to `features_of`."""

import hashlib
import shutil
from collections import OrderedDict
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from training import config, files
from training.config import ConfigError
from training.data.batches import MEAN, STD
from training.vision import models

# In a run folder: the pretrained network with its fitted head, and the network to export. In a seed's folder: its last epoch.
HEAD, BEST, LAST = "head.safetensors", "best.safetensors", "last.safetensors"

CLASSIFIERS = ("fc.", "classifier.")  # prefixes of torchvision's names

IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406])
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225])


class Network(nn.Module):
    """Maps images float32 [N, 1, S, S], normalised by MEAN and STD, to logits [N, 2] in the order of the labels."""

    def __init__(self, features: nn.Sequential, channels: int) -> None:
        super().__init__()
        self.features = features
        self.head = nn.Linear(channels, 2)
        self.upper = 0  # number of children whose maps have S / 16 places or more on a side
        maps = torch.zeros(1, 1, 64, 64)
        with torch.inference_mode():
            for child in features.eval():
                maps = child(maps)
                self.upper += maps.shape[-1] >= 64 / 16

    def to_device(self, batch: torch.Tensor) -> torch.Tensor:
        """Moves `batch` to the device and the memory format of the weights."""
        return batch.to(self.head.weight.device, memory_format=torch.channels_last)

    def feature_maps(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The last feature maps of S / 16 and of S / 32 places on a side."""
        middle = self.features[: self.upper](images)
        return middle, self.features[self.upper :](middle)

    def pooled(self, images: torch.Tensor) -> torch.Tensor:
        """float32 [N, channels]: the mean of the last feature map over its places."""
        return nn.functional.adaptive_avg_pool2d(self.features(images), 1).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.pooled(images))  # type: ignore[no-any-return]  # nn.Module returns Any


def build(choices: config.Backbone) -> Network:
    """Builds the network and loads the backbone's weights. Raises ConfigError if they cannot be downloaded, read, or used."""
    model = models.get_model(choices.name, weights=None)
    try:
        if choices.weights == "imagenet":
            model = models.get_model(choices.name, weights="DEFAULT")
        elif choices.weights != "none":
            load_backbone(model, Path(choices.weights))
    except (OSError, SafetensorError, RuntimeError) as error:  # the last: of other shapes
        known = "«imagenet» (a download), «none», or a .safetensors file"
        raise ConfigError(f"backbone.weights = «{choices.weights}»: {error}; it is {known}") from error
    features = features_of(model)
    fold_stem(features)
    classifier = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    return Network(features, classifier.in_features)


def load_backbone(model: nn.Module, path: Path) -> None:
    """Loads a .safetensors file in torchvision's names, except for its classifier. Raises ConfigError if it has other names."""
    weights = {name: value for name, value in load_file(path).items() if not name.startswith(CLASSIFIERS)}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    needed = [name for name in missing if not (name.startswith(CLASSIFIERS) or name.endswith("num_batches_tracked"))]
    if wrong := needed + unexpected:
        raise ConfigError(f"backbone.weights = «{path}» is for another network: {len(wrong)} names differ, as {wrong[0]}")


def name_weights(weights: str) -> str:
    """For people: a file's name and hash, since its path means nothing on another machine."""
    path = Path(weights)
    return f"{path.name} (SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}…)" if path.is_file() else path.name


def features_of(model: nn.Module) -> nn.Sequential:
    """The layers up to the last feature map, under torchvision's names."""
    if isinstance(model, models.ResNet):
        return nn.Sequential(OrderedDict(c for c in model.named_children() if c[0] not in ("avgpool", "fc")))
    if isinstance(model, models.DenseNet):
        return nn.Sequential(OrderedDict([*model.features.named_children(), ("relu5", nn.ReLU(inplace=True))]))
    return model.features  # type: ignore[return-value]  # MobileNetV2 has them as one module


def fold_stem(features: nn.Module) -> None:
    """Makes the first convolution take one grey channel instead of three equal ones.

    A channel normalised by ImageNet's mean and deviation is an affine function of the grey level normalised by ours. Its
    factor goes into the weights, its constant into the running mean of the batch norm behind the convolution, which has no
    bias. The result is the same, except at the outermost pixels, where zero padding means another grey."""
    convolution = next(module for module in features.modules() if isinstance(module, nn.Conv2d))
    norm = next(module for module in features.modules() if isinstance(module, nn.BatchNorm2d))
    weight = convolution.weight.detach()  # [out, 3, k, k]
    factors = (STD / IMAGENET_STD).view(1, 3, 1, 1)
    constants = ((MEAN - IMAGENET_MEAN) / IMAGENET_STD).view(1, 3, 1, 1)
    convolution.in_channels = 1
    convolution.weight = nn.Parameter((weight * factors).sum(1, keepdim=True))
    norm.get_buffer("running_mean").sub_((weight * constants).sum((1, 2, 3)))


def parameter_groups(network: Network, rate: float, lowest_layer_rate: float) -> list[dict[str, Any]]:  # Any: torch's type
    """For an optimiser: the head learns at `rate`, lower layers at rates that fall geometrically to the first layer's."""
    layers = [layer for child in network.features if (layer := list(child.parameters()))]
    last = len(layers) - 1
    groups = [{"params": layer, "lr": rate * lowest_layer_rate ** ((last - i) / last)} for i, layer in enumerate(layers)]
    return [*groups, {"params": list(network.head.parameters()), "lr": rate}]


def move_to_device(network: Network) -> Network:
    """To the GPU if there is one. Channels last, since CPUs compute depthwise convolutions faster in this memory format."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return network.to(device, memory_format=torch.channels_last)  # type: ignore[no-any-return,call-overload]  # torch's stub


def autocast(device: torch.device) -> torch.autocast:
    """Computes in bfloat16 where that is faster: on GPUs, and on CPUs with matrix units for it (AMX). With AVX-512's bfloat16
    instructions alone, both ResNet-18 and MobileNetV2 trained more slowly than in float32."""
    supported = torch.cuda.is_bf16_supported() if device.type == "cuda" else bool(torch.cpu.get_capabilities().get("amx_bf16"))
    return torch.autocast(device.type, torch.bfloat16, enabled=supported)


def save(network: nn.Module, path: Path) -> None:
    with files.atomic_write(path) as temporary:
        save_file({name: value.contiguous() for name, value in network.state_dict().items()}, temporary)


def load(choices: config.Backbone, path: Path) -> Network:
    """Reads what `save` wrote. Raises ConfigError if the file does not exist or is damaged."""
    network = build(msgspec.structs.replace(choices, weights="none"))
    try:
        network.load_state_dict(load_file(path))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); the stage «fit» writes it") from error
    return network


def copy(source: Path, path: Path) -> None:
    with files.atomic_write(path) as temporary:
        shutil.copyfile(source, temporary)
