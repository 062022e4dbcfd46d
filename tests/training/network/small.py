"""A small network, its data, and a history, which the tests of this folder share."""

import torch
from torch.utils.data import DataLoader

from training.config import Backbone
from training.data.batches import Loader, Targets
from training.data.manifest import Record
from training.network import backbone
from training.network.backbone import Network
from training.network.history import FIGURES, Row

_FIELDS = {"series": "", "number": 0, "width": 1, "height": 1, "sha256": "", "official_split": "train", "cause": ""}
RECORDS = [Record(path=label, patient=label, label=label, **_FIELDS) for label in "AB"]  # type: ignore[arg-type]  # right ones
TARGETS = Targets(RECORDS, positive="B")


def small_network() -> Network:
    torch.manual_seed(0)
    return backbone.build(Backbone(name="resnet18", weights="none", image_size=32)).eval()


def bright_and_dark(brighter: float = 2) -> Loader:
    """Three batches of 8 images. Bright images are of target 1, B."""
    targets = torch.arange(24) % 2
    images = torch.randn(24, 1, 32, 32, generator=torch.Generator().manual_seed(0)) + brighter * targets.view(-1, 1, 1, 1)
    return DataLoader(list(zip(images, targets, strict=True)), batch_size=8)  # type: ignore[arg-type]  # a list is a data set


def row(epoch: int, altered_auroc: float = 0.5) -> Row:
    figures = {**dict.fromkeys(FIGURES, 0.5), "altered_auroc": altered_auroc}
    return Row(epoch=epoch, seconds=1, train_loss=0.5, **figures)
