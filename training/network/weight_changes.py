"""How fine-tuning changed the network: how far the weights of each stage moved, and the filters of the first layer.

`model.json` keeps this as `metrics.anatomy`."""

import base64
import posixpath
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch.nn.utils import parameters_to_vector

from training.network import backbone
from training.network.backbone import Network


def compare(before: Network, after: Network) -> dict[str, Any]:
    """`change`: |after − before| / |before| over all weights of a stage's convolutions. `filters`: those of the first
    convolution, `shape` [filters, height, width], before and after, each as base64 of uint8, where 128 is zero."""
    old, new = (dict(network.features.named_parameters()) for network in (before, after))
    stages = []
    for names in backbone.layers(after.features, stages=True):
        if weights := [name for name in names if old[name].ndim == 4]:  # those of convolutions
            start, end = (parameters_to_vector([parameters[name] for name in weights]).detach() for parameters in (old, new))
            change = float((end - start).norm() / start.norm())
            parameters = sum(new[name].numel() for name in names)
            stages.append({"name": _name(weights), "parameters": parameters, "change": change})
    stem = next(name for name, parameter in old.items() if parameter.ndim == 4)
    old_filters, new_filters = (parameters[stem].detach()[:, 0].numpy() for parameters in (old, new))
    filters = {"shape": list(new_filters.shape), "before": _encode(old_filters), "after": _encode(new_filters)}
    head_parameters, left_out = after.head.weight.numel() + after.head.bias.numel(), backbone.left_out(after.features)
    return {"stages": stages, "head_parameters": head_parameters, "filters": filters, "left_out": left_out}


def _name(weights: Sequence[str]) -> str:
    """The module that they are in: `layer1` for `layer1.0.conv1.weight` and `layer1.1.conv1.weight`. A stage of several modules
    is called by its first: `blocks.6`, with `conv_head` behind it."""
    paths = [weight.split(".")[:-1] for weight in weights]
    return posixpath.commonpath(["/".join(path) for path in paths if path[0] == paths[0][0]]).replace("/", ".")


def _encode(filters: npt.NDArray[np.float32]) -> str:
    """Each filter is scaled by its own greatest absolute value."""
    greatest = np.abs(filters).max((1, 2), keepdims=True)
    levels = np.rint(128 + 127 * filters / np.maximum(greatest, 1e-12)).astype(np.uint8)
    return base64.b64encode(levels.tobytes()).decode()
