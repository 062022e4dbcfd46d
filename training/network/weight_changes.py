"""What fitting changed in a network, for those who want to see it: how far each stage moved, and the first layer's filters."""

import base64
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from training.network.backbone import Network


def compare(before: Network, after: Network) -> dict[str, Any]:
    """What `model.json` keeps. `change`: |after − before| / |before| over all weights of a stage's convolutions. `filters`: of
    the first convolution, `shape` [filters, height, width]; before and after as base64 of uint8, 128 for zero."""
    stages = []
    for (name, old), new in zip(before.features.named_children(), after.features.children(), strict=True):
        if weights := _convolutions(old):
            difference = torch.cat([a - b for a, b in zip(_convolutions(new), weights, strict=True)])
            stages.append({
                "name": name,
                "parameters": sum(parameter.numel() for parameter in new.parameters()),
                "change": float(difference.norm() / torch.cat(weights).norm()),
            })  # fmt: skip
    first, last = _filters(before), _filters(after)
    return {
        "stages": stages,
        "head_parameters": sum(parameter.numel() for parameter in after.head.parameters()),
        "filters": {"shape": list(first.shape), "before": _encode(first), "after": _encode(last)},
    }


def _convolutions(module: nn.Module) -> list[torch.Tensor]:
    return [part.weight.detach().flatten() for part in module.modules() if isinstance(part, nn.Conv2d)]


def _filters(network: Network) -> npt.NDArray[np.float32]:
    convolution = next(module for module in network.features.modules() if isinstance(module, nn.Conv2d))
    return np.asarray(convolution.weight.detach()[:, 0])


def _encode(filters: npt.NDArray[np.float32]) -> str:
    """Each filter to its own greatest value."""
    greatest = np.abs(filters).max((1, 2), keepdims=True)
    levels = np.rint(128 + 127 * filters / np.maximum(greatest, 1e-12)).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode()
