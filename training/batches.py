"""Images in batches for torch: decoding, transforms, loaders, and a network's outputs over them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler, WeightedRandomSampler

from training import data
from training.backbone import Network
from training.config import Augment, Config
from training.data import MEAN, STD, Record
from training.progress import track
from training.vision import transforms

Loader: TypeAlias = "DataLoader[tuple[torch.Tensor, torch.Tensor]]"


class Images(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Decodes by the service's own decoder; gives (`transform` of float32 [1, height, width] in 0–1, label index)."""

    def __init__(self, folder: Path, records: Sequence[Record], labels: list[str], transform: torch.nn.Module) -> None:
        self.folder = folder
        self.records = records
        self.labels = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        record = self.records[index]
        grey = torch.from_numpy(data.read_image(self.folder, record).astype(np.float32))
        return self.transform(grey[None] / 255), torch.tensor(self.labels.index(record.label))


def loader(
    config: Config, records: Sequence[Record], labels: list[str], transform: nn.Module, sampler: Sampler[int] | None = None
) -> Loader:
    images = Images(Path(config.data.folder), records, labels, transform)
    return DataLoader(images, config.fit.batch_size, sampler=sampler, num_workers=config.fit.workers)


def plain(size: int) -> nn.Module:
    """The exported graph's own preprocessing."""
    return nn.Sequential(transforms.Resize((size, size)), transforms.Normalize([MEAN], [STD]))


def augmented(size: int, choices: Augment) -> nn.Module:
    """Strong crops are the one change with a large documented effect on the shift of this data set: they take away
    the border, the markers and the scale as shortcuts."""
    return nn.Sequential(
        transforms.RandomResizedCrop(size, scale=choices.crop_area),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(brightness=choices.jitter, contrast=choices.jitter),
        transforms.Normalize([MEAN], [STD]),
    )


def balanced_sampler(records: Sequence[Record]) -> WeightedRandomSampler:
    """Draws both labels equally often, as many images an epoch as there are."""
    names = [record.label for record in records]
    return WeightedRandomSampler([1 / names.count(name) for name in names], len(names))


def outputs(
    network: Network, compute: Callable[[torch.Tensor], torch.Tensor], images: Loader, what: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """`compute` (the network itself, or one of its methods) of every image [N, …], and label indices [N]."""
    network.eval()
    computed, labels = [], []
    with torch.inference_mode():
        for batch, label in track(images, what):
            computed.append(compute(network.take(batch)).cpu())
            labels.append(label)
    return torch.cat(computed).double().numpy(), torch.cat(labels).numpy()
