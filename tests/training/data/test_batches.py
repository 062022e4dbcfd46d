from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import Augment, Backbone, Config, Data, Fit
from training.data import batches, splits
from training.data.alterations import ALTERATIONS
from training.data.batches import Images, Targets
from training.data.manifest import DataError, Record


def choices(folder: Path, texture: float = 0.4, workers: int = 0) -> Config:
    data, augment, fit = Data(folder=str(folder)), Augment(texture=texture), Fit(workers=workers, batch_size=8)
    return Config(data=data, backbone=Backbone(image_size=64), augment=augment, fit=fit)


def test_a_target_tells_the_label_and_the_positive_one_must_exist(records: list[Record]) -> None:
    targets = Targets(records, "PNEUMONIA")
    positive = targets.is_positive(np.array([targets.target(record) for record in records]))
    assert list(positive) == [record.label == "PNEUMONIA" for record in records]
    assert targets.classes == [("NORMAL", ""), ("PNEUMONIA", "bacteria"), ("PNEUMONIA", "virus")]
    with pytest.raises(DataError, match=r"«SICK».*NORMAL.*PNEUMONIA"):
        Targets(records, "SICK")


def test_both_labels_are_drawn_equally_often(records: list[Record]) -> None:
    torch.manual_seed(0)
    few_normal = sorted(records, key=lambda record: record.label)[36:]  # 4 of 40
    drawn = [index for _ in range(100) for index in batches.balanced_sampler(few_normal)]
    assert np.mean([index < 4 for index in drawn]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("texture", [0.4, 1.0])
def test_augmented_images_have_the_networks_size_and_differ(folder: Path, texture: float) -> None:
    transform, image = batches.augmented(choices(folder, texture)), torch.rand(1, 100, 80)
    first, second = transform(image), transform(image)
    assert first.shape == second.shape == (1, 64, 64) and not torch.equal(first, second)


def test_the_third_validation_is_the_other_two_altered(folder: Path, records: list[Record]) -> None:
    cut = splits.split(records, Data(folds=4, shifted_fraction=0.2), seed=0)
    loaders = batches.validation(choices(folder), cut, Targets(records, "PNEUMONIA"))
    val, shifted, altered = (torch.cat([images for images, _ in loaders[name]]) for name in ("val", "shifted", "altered"))
    assert (altered != torch.cat([val, shifted])).flatten(1).any(1).all()
    assert len(ALTERATIONS) < len(altered), "each alteration is used"


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_a_process_cannot_read_is_named_in_one_line(records: list[Record], tmp_path: Path, workers: int) -> None:
    images = Images(choices(tmp_path, workers=workers), records[:4], Targets(records, "PNEUMONIA"), batches.plain(64))
    with pytest.raises(DataError) as raised:
        list(batches.read_batches(batches.loader(images), "read"))
    [line] = str(raised.value).splitlines()
    assert line.startswith(f"{tmp_path / records[0].path}: [Errno 2] No such file")
