"""torchvision, importable beside a torch of another build, and timm, which needs it. All of `training` imports both from here.

torchvision's wheel on the Python package index is built against CUDA. Beside a CPU-only torch its compiled operators do not
load, and `import torchvision` stops with «operator torchvision::nms does not exist», though models, transforms and data sets
need no such operator. Declaring the two missing schemas lets the import finish."""

import sys

import torch

try:
    import torchvision
except RuntimeError as error:
    if "torchvision::nms" not in str(error):
        raise
    for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    _library = torch.library.Library("torchvision", "FRAGMENT")  # the schemas exist as long as this object
    for operator in ("nms", "qnms"):
        _library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import torchvision

import timm
from torchvision.transforms import v2 as transforms

__all__ = ["timm", "torchvision", "transforms"]
