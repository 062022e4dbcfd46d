from pathlib import Path

import numpy as np
import pytest
import torch

from training.config import Augment, Backbone, Config, Data, Fit
from training.data import alterations, batches, manifest, phantoms, splits
from training.data.batches import Kinds
from training.data.manifest import Record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    phantoms.write_data_set(folder, 60)
    return folder


@pytest.fixture(scope="module")
def records(folder: Path) -> list[Record]:
    return splits.split(manifest.scan(folder), Data(folds=4, shifted_fraction=0.2), seed=0)


def choices(folder: Path, **augment: float) -> Config:
    return Config(
        data=Data(folder=str(folder)),
        backbone=Backbone(image_size=64),
        augment=Augment(**augment),  # type: ignore[arg-type]  # shares
        fit=Fit(workers=0, batch_size=8),
    )


def test_a_kind_knows_its_label(records: list[Record]) -> None:
    kinds = Kinds(records, "PNEUMONIA")
    indices = np.array([kinds.index(record) for record in records])
    assert list(kinds.truth(indices)) == [record.label == "PNEUMONIA" for record in records]
    assert kinds.kinds == [("NORMAL", ""), ("PNEUMONIA", "bacteria"), ("PNEUMONIA", "virus")]


def test_both_labels_are_drawn_equally_often() -> None:
    fields = {"series": "", "number": 0, "cause": "", "width": 1, "height": 1, "sha256": "", "official_split": "train"}
    records = [
        Record(path=str(index), patient=str(index), label="rare" if index < 10 else "common", **fields)  # type: ignore[arg-type]
        for index in range(100)
    ]
    torch.manual_seed(0)
    drawn = [index for _ in range(20) for index in batches.balanced_sampler(records)]
    assert np.mean([index < 10 for index in drawn]) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("augment", [{}, {"texture": 1.0}])
def test_augmented_images_have_the_networks_size_and_differ(folder: Path, augment: dict[str, float]) -> None:
    transform = batches.augmented(choices(folder, **augment))
    image = torch.rand(1, 100, 80)
    first, second = transform(image), transform(image)
    assert first.shape == second.shape == (1, 64, 64)
    assert not torch.equal(first, second)


def test_the_third_validation_is_the_other_two_altered(folder: Path, records: list[Record]) -> None:
    loaders = batches.validation(choices(folder), records, Kinds(records, "PNEUMONIA"))
    val, shifted, changed = (torch.cat([images for images, _ in loaders[name]]) for name in ("val", "shifted", "altered"))
    whole = torch.cat([val, shifted])
    assert changed.shape == whole.shape
    assert (changed != whole).flatten(1).any(1).all()
    assert len(alterations.CHANGES) < len(whole), "each change is seen"
