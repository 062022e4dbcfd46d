"""timm's network as a model folder describes it: without the layers that were left out when it was fitted."""

from typing import Any

from torch import nn

from training.vision import timm


def build(description: dict[str, Any]) -> nn.Module:
    """With a head of two outputs, as in the original. `description`: `model.json`."""
    network: Any = timm.create_model(description["backbone"], num_classes=2)  # Any: torch types no attribute of its own
    if "conv_head" in description["metrics"]["anatomy"].get("left_out", []):
        channels = network.conv_head.in_channels
        network.conv_head, network.bn2, network.classifier = nn.Identity(), nn.Identity(), nn.Linear(channels, 2)
    built: nn.Module = network
    return built
