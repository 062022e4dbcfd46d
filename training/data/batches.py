"""Images in batches for torch: class targets, decoding, transforms, and data loaders."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler, WeightedRandomSampler

from training.config import Config
from training.data import manifest, splits
from training.data.alterations import ALTERATIONS, UNSEEN, Alteration
from training.data.manifest import DataError, Record
from training.progress import track
from training.vision import transforms

MEAN, STD = 0.449, 0.226  # of grey levels from 0 to 1: ImageNet's means and deviations, averaged over its three channels

Loader: TypeAlias = "DataLoader[tuple[torch.Tensor, torch.Tensor]]"  # images [N, 1, S, S] and targets [N]


class Targets:
    """Numbers the classes that a network learns to tell apart. A class is a label with one of its causes, as far as file
    names tell one; the target of an image is the number of its class.

    `labels`: in the order of the network's outputs; `positive`: the index of the positive one among them.
    `label_of_class` float32 [classes, 2]: 1 where the class has the label."""

    def __init__(self, records: Sequence[Record]) -> None:
        self.labels = manifest.label_names(records)
        self.positive = self.labels.index(manifest.positive_label(records))
        self.classes = sorted({(record.label, record.cause) for record in records})
        self.label_of_class = torch.tensor([[float(label == name) for name in self.labels] for label, _ in self.classes])

    def target(self, record: Record) -> int:
        return self.classes.index((record.label, record.cause))

    def is_positive(self, targets: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        return np.asarray(self.label_of_class[targets, self.positive] == 1)


@dataclass(frozen=True)
class Images(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Decodes as the service does. `transform` takes float32 [1, height, width] from 0 to 1. If there are `alterations`, each
    image is altered by one of them, in turn."""

    config: Config
    records: Sequence[Record]
    targets: Targets
    transform: nn.Module
    alterations: Sequence[Alteration] = ()

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        record = self.records[index]
        grey = manifest.read_image(Path(self.config.data.folder), record)
        if self.alterations:
            grey = self.alterations[index % len(self.alterations)](grey)
        pixels = torch.from_numpy(grey.astype(np.float32))
        return self.transform(pixels[None] / 255), torch.tensor(self.targets.target(record))


def loader(images: Images, sampler: Sampler[int] | None = None) -> Loader:
    return DataLoader(images, images.config.fit.batch_size, sampler=sampler, num_workers=images.config.fit.workers)


def validation(config: Config, records: Sequence[Record], targets: Targets) -> dict[str, Loader]:
    """The four validations, under the names that the columns of `history.Row` begin with."""
    transform = plain(config.backbone.image_size)
    val, shifted = (manifest.of_split(records, split) for split in (splits.VAL, splits.SHIFTED))
    return {
        "val": loader(Images(config, val, targets, transform)),
        "shifted": loader(Images(config, shifted, targets, transform)),
        "altered": loader(Images(config, [*val, *shifted], targets, transform, list(ALTERATIONS.values()))),
        "unseen": loader(Images(config, [*val, *shifted], targets, transform, list(UNSEEN.values()))),
    }


def read_batches(images: Loader, what: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of a loader, with a progress bar. Raises DataError of one line: torch adds a worker's traceback to it."""
    try:
        yield from track(images, what)
    except DataError as error:
        prefix = f"{DataError.__module__}.{DataError.__qualname__}: "
        raise DataError(str(error).strip().splitlines()[-1].removeprefix(prefix)) from error


def plain(size: int) -> nn.Module:
    """The preprocessing of the exported graph."""
    return nn.Sequential(transforms.Resize((size, size)), transforms.Normalize([MEAN], [STD]))


def augmented(config: Config) -> nn.Module:
    """Random views. Strong crops take away the border, the markers and the scale as shortcuts; changes of texture take away
    sharpness and noise, by which a network otherwise tells the two labels (see `texture` in ablation.csv)."""
    choices, size = config.augment, config.backbone.image_size
    framings = [
        transforms.Resize((size, size)),
        transforms.RandomResizedCrop(size, scale=choices.crop_area, ratio=choices.crop_aspect),
    ]
    textures = [  # for crops of about 224 × 224 pixels
        transforms.GaussianBlur(9, (0.3, 2.0)),
        transforms.RandomAdjustSharpness(3.0, 1),
        transforms.GaussianNoise(sigma=0.03),
        transforms.GaussianNoise(sigma=0.08),
    ]
    return nn.Sequential(
        transforms.RandomChoice(framings, [choices.whole, 1 - choices.whole]),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(brightness=choices.jitter, contrast=choices.jitter),
        transforms.Lambda(partial(random_gamma, strength=choices.gamma)),
        transforms.RandomApply([transforms.RandomChoice(textures)], choices.texture),
        transforms.Normalize([MEAN], [STD]),
    )


def random_gamma(image: torch.Tensor, strength: float) -> torch.Tensor:
    """Raises grey levels from 0 to 1 to a random power from e^−strength to e^strength."""
    return image ** torch.empty(1).uniform_(-strength, strength).exp()


def swap_surroundings(images: torch.Tensor, share: float) -> torch.Tensor:
    """Gives a random share of the images [N, 1, S, S] another image's surroundings: all that lies outside a rectangle, which
    leaves out up to a quarter on each side. What arms, abdomen, markers or collimation tell from there becomes useless."""
    count, _, height, width = images.shape
    margins = torch.rand(count, 4, device=images.device) * 0.25 * (torch.rand(count, 1, device=images.device) < share)
    top, bottom, left, right = margins[:, :, None].unbind(1)  # each [N, 1]
    rows, columns = (torch.linspace(0, 1, side, device=images.device)[None] for side in (height, width))
    inside = ((rows >= top) & (rows <= 1 - bottom))[:, :, None] & ((columns >= left) & (columns <= 1 - right))[:, None]
    return torch.where(inside[:, None], images, images.roll(1, 0))


def balanced_sampler(records: Sequence[Record], weights: npt.NDArray[np.float64] | None = None) -> WeightedRandomSampler:
    """Draws both labels equally often, and as many images an epoch as there are. `weights` [N]: within a label, how often an
    image is drawn compared with the others; by default all are drawn equally often."""
    drawn = np.ones(len(records)) if weights is None else weights
    labels = np.array([record.label for record in records])
    sums = {label: drawn[labels == label].sum() for label in set(labels)}
    return WeightedRandomSampler([float(each / sums[label]) for each, label in zip(drawn, labels, strict=True)], len(records))
