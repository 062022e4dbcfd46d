"""How fine-tuning changed the network: how far the weights of each stage moved, and the filters of the first layer.

`model.json` keeps this as `metrics.anatomy`.
"""

import base64
from typing import Any

import numpy as np
import torch
from torch import nn

from training.network.backbone import Network


def compare(before: Network, after: Network) -> dict[str, Any]:
    """`change`: |after − before| / |before| over all weights of a stage's convolutions. `filters`: those of the first
    convolution, `shape` [filters, height, width], before and after, each as base64 of uint8, where 128 is zero."""
    stages = []
    for (name, old), new in zip(before.features.named_children(), after.features.children(), strict=True):
        if weights := [layer.weight.detach().flatten() for layer in _convolutions(old)]:
            moved = [layer.weight.detach().flatten() for layer in _convolutions(new)]
            difference = torch.cat(moved) - torch.cat(weights)
            stages.append({
                "name": name,
                "parameters": sum(parameter.numel() for parameter in new.parameters()),
                "change": float(difference.norm() / torch.cat(weights).norm()),
            })  # fmt: skip
    filters = {"before": _convolutions(before.features)[0], "after": _convolutions(after.features)[0]}
    height, width = filters["after"].kernel_size
    return {
        "stages": stages,
        "head_parameters": sum(parameter.numel() for parameter in after.head.parameters()),
        "filters": {
            "shape": [filters["after"].out_channels, height, width],
            **{when: _encode_filters(layer) for when, layer in filters.items()},
        },
    }


def _convolutions(module: nn.Module) -> list[nn.Conv2d]:
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]


def _encode_filters(layer: nn.Conv2d) -> str:
    """Each filter is scaled by its own greatest absolute value."""
    filters = layer.weight.detach()[:, 0].numpy()
    greatest = np.abs(filters).max((1, 2), keepdims=True)
    levels = np.rint(128 + 127 * filters / np.maximum(greatest, 1e-12)).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode()
