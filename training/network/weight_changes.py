"""How fine-tuning changed the network: how far the weights of each stage moved, and the filters of the first layer.

`model.json` keeps this as `metrics.anatomy`."""

import base64
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils import parameters_to_vector

from training.network.backbone import Network


def compare(before: Network, after: Network) -> dict[str, Any]:
    """`change`: |after − before| / |before| over all weights of a stage's convolutions. `filters`: those of the first
    convolution, `shape` [filters, height, width], before and after, each as base64 of uint8, where 128 is zero."""
    stages = []
    for (name, old), new in zip(before.features.named_children(), after.features.children(), strict=True):
        if weights := _convolution_weights(old):
            start, end = (parameters_to_vector(each).detach() for each in (weights, _convolution_weights(new)))
            change = float((end - start).norm() / start.norm())
            stages.append({"name": name, "parameters": _count(new), "change": change})
    old_filters, new_filters = (_convolution_weights(network)[0].detach()[:, 0].numpy() for network in (before, after))
    filters = {"shape": list(new_filters.shape), "before": _encode(old_filters), "after": _encode(new_filters)}
    return {"stages": stages, "head_parameters": _count(after.head), "filters": filters}


def _convolution_weights(module: nn.Module) -> list[torch.Tensor]:
    return [part.weight for part in module.modules() if isinstance(part, nn.Conv2d)]


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _encode(filters: npt.NDArray[np.float32]) -> str:
    """Each filter is scaled by its own greatest absolute value."""
    greatest = np.abs(filters).max((1, 2), keepdims=True)
    levels = np.rint(128 + 127 * filters / np.maximum(greatest, 1e-12)).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode()
