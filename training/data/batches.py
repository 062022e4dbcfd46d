"""Images in batches for torch: decoding, transforms, loaders, and a network's outputs over them."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, Sampler, WeightedRandomSampler

from training.config import Config, ConfigError
from training.data import alterations, manifest, splits
from training.data.manifest import MEAN, STD, DataError, Record
from training.network import backbone
from training.network.backbone import Network
from training.progress import track
from training.vision import transforms

Loader: TypeAlias = "DataLoader[tuple[torch.Tensor, torch.Tensor]]"  # images [N, 1, S, S], and the index of each one's kind [N]


class Kinds:
    """Labels and, within them, causes, as far as file names tell, by an index.

    `labels`: in the order of the network's outputs; `positive`: the index of the positive one among them.
    `labels_of` float32 [kinds, 2]: 1 where the kind has the label.
    """

    def __init__(self, records: Sequence[Record], positive: str) -> None:
        self.labels = manifest.label_names(records, positive)
        self.positive = self.labels.index(positive)
        self.kinds = sorted({(record.label, record.cause) for record in records})
        self.labels_of = torch.tensor([[float(label == kind[0]) for label in self.labels] for kind in self.kinds])

    def index(self, record: Record) -> int:
        return self.kinds.index((record.label, record.cause))

    def truth(self, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        return np.asarray(self.labels_of[indices, self.positive] == 1)


class Images(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Decodes by the service's own decoder; `transform` takes float32 [1, height, width] in 0–1. Of `changes`, if any,
    image i is given the i-th, counted round."""

    def __init__(
        self, folder: Path, records: Sequence[Record], kinds: Kinds, transform: nn.Module, changes: Sequence[alterations.Change]
    ) -> None:
        self.folder = folder
        self.records = records
        self.kinds = kinds
        self.transform = transform
        self.changes = changes

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        record = self.records[index]
        grey = manifest.read_image(self.folder, record)
        if self.changes:
            grey = self.changes[index % len(self.changes)](grey)
        pixels = torch.from_numpy(grey.astype(np.float32))
        return self.transform(pixels[None] / 255), torch.tensor(self.kinds.index(record))


def loader(
    config: Config,
    records: Sequence[Record],
    kinds: Kinds,
    transform: nn.Module,
    *,
    sampler: Sampler[int] | None = None,
    changes: Sequence[alterations.Change] = (),
) -> Loader:
    images = Images(Path(config.data.folder), records, kinds, transform, changes)
    return DataLoader(images, config.fit.batch_size, sampler=sampler, num_workers=config.fit.workers)


def validation(config: Config, records: Sequence[Record], kinds: Kinds) -> dict[str, Loader]:
    """By the names of `history.Row`."""
    transform = plain(config.backbone.image_size)
    val, shifted = (manifest.of_split(records, split) for split in (splits.VAL, splits.SHIFTED))
    return {
        "val": loader(config, val, kinds, transform),
        "shifted": loader(config, shifted, kinds, transform),
        "altered": loader(config, [*val, *shifted], kinds, transform, changes=list(alterations.CHANGES.values())),
    }


def each(images: Loader, what: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Raises DataError in one line, whichever process met it: torch adds a worker's traceback to the message."""
    try:
        yield from track(images, what)
    except DataError as error:
        raise DataError(str(error).strip().splitlines()[-1].removeprefix("training.data.DataError: ")) from error


def plain(size: int) -> nn.Module:
    """The exported graph's own preprocessing."""
    return nn.Sequential(transforms.Resize((size, size)), transforms.Normalize([MEAN], [STD]))


def augmented(config: Config) -> nn.Module:
    """Strong crops take away the border, the markers and the scale as shortcuts; changes of texture take away sharpness and
    noise, by which a network else tells the two labels (`texture` in ablation.csv)."""
    choices = config.augment
    return nn.Sequential(
        transforms.RandomResizedCrop(config.backbone.image_size, scale=choices.crop_area),
        transforms.RandomHorizontalFlip(),
        transforms.ColorJitter(brightness=choices.jitter, contrast=choices.jitter),
        transforms.RandomApply([transforms.RandomChoice(_textures())], choices.texture),
        transforms.Normalize([MEAN], [STD]),
    )


def balanced_sampler(records: Sequence[Record]) -> WeightedRandomSampler:
    """Draws both labels equally often, as many images an epoch as there are."""
    images = Counter(record.label for record in records)
    return WeightedRandomSampler([1 / images[record.label] for record in records], len(records))


def outputs(
    network: Network, compute: Callable[[torch.Tensor], torch.Tensor], images: Loader, what: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """`compute` (the network itself, or one of its methods) of every image [N, …], and the indices of their kinds [N].

    Raises ConfigError: it is not finite.
    """
    network.eval()
    computed, kinds = [], []
    with torch.inference_mode():
        for batch, kind in each(images, what):
            batch = network.take(batch)
            with backbone.autocast(batch.device):
                computed.append(compute(batch).float().cpu())
            kinds.append(kind)
    values = torch.cat(computed).double().numpy()
    if not np.isfinite(values).all():
        raise ConfigError("the network gives no finite numbers: its weights are damaged, or fit.learning_rate was too great")
    return values, torch.cat(kinds).numpy()


def _textures() -> list[nn.Module]:
    """Of crops of about 224 × 224 in 0–1."""
    return [
        transforms.GaussianBlur(9, (0.3, 2.0)),
        transforms.RandomAdjustSharpness(3.0, 1),
        transforms.GaussianNoise(sigma=0.03),
        transforms.GaussianNoise(sigma=0.08),
    ]
