"""The network: a backbone from timm whose stem takes one grey channel, global average pooling, and a linear head.

Any convolutional network of timm will do that halves the image five times and normalises batches behind its stem."""

import difflib
import hashlib
import shutil
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
from training.network import device as devices
from training.network import weights
from training.vision import timm

# In a run folder: the pretrained network with its fitted head, and the network to export. In a seed's folder: its last epoch.
HEAD, BEST, LAST = "head.safetensors", "best.safetensors", "last.safetensors"


class Network(nn.Module):
    """Maps images float32 [N, 1, S, S], normalised by MEAN and STD, to logits [N, 2] in the order of the labels."""

    def __init__(self, features: nn.Module) -> None:
        """`features`: one of timm's networks, without its classifier."""
        super().__init__()
        self.features = features
        self.head = nn.Linear(features.num_features, 2)  # type: ignore[arg-type]  # an int
        self.middle = max(index for index, reduction in enumerate(reductions(features)) if reduction == 16)

    def to_device(self, batch: torch.Tensor) -> torch.Tensor:
        """Moves `batch` to the device and the memory format of the weights."""
        return batch.to(self.head.weight.device, memory_format=torch.channels_last)

    def feature_maps(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The last feature maps of S / 16 and of S / 32 places on a side."""
        last, [middle] = self.features.forward_intermediates(images, indices=[self.middle])  # type: ignore[operator]  # a method
        return middle, last

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        """float32 [N, channels, S / 32, S / 32]: the last feature maps."""
        return self.features.forward_features(images)  # type: ignore[no-any-return,operator]  # as above

    def pooled(self, images: torch.Tensor) -> torch.Tensor:
        """float32 [N, channels]: the mean of each of the last feature maps."""
        return self.maps(images).mean((2, 3))

    def evidence(self, maps: torch.Tensor) -> torch.Tensor:
        """[N, h, w]: how far each place of the last feature maps speaks for the second label and against the first."""
        return torch.einsum("nchw,c->nhw", maps, self.head.weight[1] - self.head.weight[0])

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.pooled(images))  # type: ignore[no-any-return]  # nn.Module returns Any


def reductions(features: nn.Module) -> list[int]:
    """How many times smaller than the image the maps are that `forward_intermediates` can give, in their order."""
    return [stage["reduction"] for stage in features.feature_info]  # type: ignore[union-attr]  # timm's list of dicts


def build(choices: config.Backbone) -> Network:
    """Builds the network and loads the backbone's weights. Raises ConfigError if timm has no such network, if it cannot be
    used here, or if its weights cannot be downloaded, read, or used."""
    if not timm.is_model(choices.name):
        close = difflib.get_close_matches(choices.name, timm.list_models(), 5, cutoff=0.3)
        raise ConfigError(f"backbone.name = «{choices.name}» is no network of timm; similar names are {', '.join(close)}")
    features = timm.create_model(choices.name, num_classes=0)
    check_usable(choices.name, features)
    if choices.weights == "imagenet":
        features = weights.download(choices.name, features)
    elif choices.weights != "none":
        weights.load(features, choices.name, Path(choices.weights))
    if choices.weights == "none":  # timm lets each block of a ResNet begin with nothing, which is for long training alone
        for module in features.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)
    fold_stem(features)
    if not choices.conv_head:
        drop_conv_head(features)
    return Network(features)


def check_usable(name: str, features: nn.Module) -> None:
    """Raises ConfigError, which says why, if this design cannot use the network."""
    stem, norm = stem_of(features)
    if not hasattr(features, "forward_intermediates") or reductions(features)[-1] != 32 or 16 not in reductions(features):
        why = "its last maps are not 32 times smaller than the image, or none is 16 times smaller"
    elif stem is None or stem.bias is not None or not isinstance(norm, nn.BatchNorm2d):
        why = "its first layer is not a convolution without a bias, followed by a batch norm"
    else:
        return
    raise ConfigError(f"backbone.name = «{name}» cannot be used: {why}")


def stem_of(features: nn.Module) -> tuple[nn.Conv2d | None, nn.Module | None]:
    """The first convolution, and the layer behind it."""
    layers = iter(features.modules())
    return next((layer for layer in layers if isinstance(layer, nn.Conv2d)), None), next(layers, None)


def name_weights(weights: str) -> str:
    """For people: a file's name and hash, since its path means nothing on another machine."""
    path = Path(weights)
    return f"{path.name} (SHA-256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}…)" if path.is_file() else path.name


def fold_stem(features: nn.Module) -> None:
    """Makes the first convolution take one grey channel instead of three equal ones.

    A channel normalised by the mean and deviation of the weights is an affine function of the grey level normalised by ours.
    Its factor goes into the weights, its constant into the running mean of the batch norm behind the convolution. The result
    is the same, except at the outermost pixels, where zero padding means another grey. timm's own `in_chans=1` only adds the
    channels up."""
    convolution, norm = stem_of(features)
    assert convolution is not None and norm is not None  # see `check_usable`
    mean, std = (torch.tensor(features.pretrained_cfg[name]) for name in ("mean", "std"))  # type: ignore[index]  # a dict
    weight = convolution.weight.detach()  # [out, 3, k, k]
    convolution.in_channels = 1
    convolution.weight = nn.Parameter((weight * (STD / std).view(1, 3, 1, 1)).sum(1, keepdim=True))
    norm.get_buffer("running_mean").sub_((weight * ((MEAN - mean) / std).view(1, 3, 1, 1)).sum((1, 2, 3)))


def drop_conv_head(features: nn.Module) -> None:
    """Ends the network with its last block, which has fewer channels (EfficientNet-Lite0: 320, not 1,280) and no activation.
    Does nothing where the maps do not come from a `conv_head`."""
    last = getattr(features, "conv_head", None)
    if isinstance(last, nn.Conv2d) and last.out_channels == features.num_features and hasattr(features, "bn2"):
        features.num_features = last.in_channels  # type: ignore[assignment]  # timm's own attribute
        features.conv_head, features.bn2 = nn.Identity(), nn.Identity()


def left_out(features: nn.Module) -> list[str]:
    """The names of timm's layers that the network does without."""
    return ["conv_head"] if isinstance(getattr(features, "conv_head", None), nn.Identity) else []


def layers(features: nn.Module, *, stages: bool = False) -> list[list[str]]:
    """The names of the parameters of each layer, or of each stage, the lowest first."""
    matcher = features.group_matcher(coarse=stages)  # type: ignore[operator]  # a method
    return list(timm.models.group_parameters(features, matcher).values())


def freeze(network: Network, stages: int) -> None:
    """Keeps the lowest `stages` as they are."""
    for names in layers(network.features, stages=True)[:stages]:
        for name in names:
            network.features.get_parameter(name).requires_grad_(False)


def parameter_groups(network: Network, rate: float, lowest_layer_rate: float) -> list[dict[str, Any]]:  # Any: torch's type
    """For an optimiser: the head learns at `rate`, lower layers at rates that fall geometrically to the first layer's."""
    groups = [[network.features.get_parameter(name) for name in names] for names in layers(network.features)]
    last = len(groups) - 1
    rated = [{"params": group, "lr": rate * lowest_layer_rate ** ((last - i) / last)} for i, group in enumerate(groups)]
    return [*rated, {"params": list(network.head.parameters()), "lr": rate}]


def move_to_device(network: Network, wanted: config.Device) -> Network:
    """Channels last, since CPUs compute depthwise convolutions faster in this memory format."""
    device = devices.choose(wanted)
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
