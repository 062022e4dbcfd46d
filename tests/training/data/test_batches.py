"""Images that are altered or drawn, images that are no chest X-rays, and batches of them."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.conftest import grey
from training.config import Augment, Backbone, Config, Data, Fit
from training.data import batches, out_of_distribution, phantoms, splits
from training.data.alterations import ALTERATIONS, UNSEEN
from training.data.batches import Images, Targets
from training.data.manifest import DataError, Record

SLOPE = np.tile(np.linspace(50, 200, 100).astype(np.uint8), (100, 1))


def choices(folder: Path, texture: float = 0.4, workers: int = 0) -> Config:
    data, augment, fit = Data(folder=str(folder)), Augment(texture=texture), Fit(workers=workers, batch_size=8)
    return Config(data=data, backbone=Backbone(image_size=64), augment=augment, fit=fit)


def test_a_target_tells_the_label_and_its_cause(records: list[Record]) -> None:
    targets = Targets(records)
    positive = targets.is_positive(np.array([targets.target(record) for record in records]))
    assert list(positive) == [record.label == "PNEUMONIA" for record in records]
    assert targets.classes == [("NORMAL", ""), ("PNEUMONIA", "bacteria"), ("PNEUMONIA", "virus")]


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


def test_whole_images_are_framed_as_when_the_model_serves() -> None:
    config, image = (
        Config(augment=Augment(whole=1, jitter=0, texture=0), backbone=Backbone(image_size=64)),
        torch.rand(1, 100, 80),
    )
    framed, expected = batches.augmented(config)(image), batches.plain(64)(image)
    assert torch.equal(framed, expected) or torch.equal(framed, expected.flip(2))


def test_two_validations_are_the_other_two_altered(folder: Path, records: list[Record]) -> None:
    cut = splits.split(records, Data(folds=4, shifted_fraction=0.2), seed=0)
    loaders = batches.validation(choices(folder), cut, Targets(records))
    val, shifted, altered, unseen = (torch.cat([images for images, _ in loaders[name]]) for name in loaders)
    for changed, changes in ((altered, ALTERATIONS), (unseen, UNSEEN)):
        assert (changed != torch.cat([val, shifted])).flatten(1).any(1).all()
        assert len(changes) < len(changed), "each alteration is used"


def test_surroundings_are_swapped_in_a_share_of_the_images_and_the_middle_stays() -> None:
    images = torch.rand(64, 1, 40, 40)
    assert torch.equal(batches.swap_surroundings(images, 0), images)
    for share in (0.5, 1.0):
        swapped = batches.swap_surroundings(images, share)
        assert torch.equal(swapped[..., 10:-10, 10:-10], images[..., 10:-10, 10:-10])
        changed = (swapped != images).flatten(1).any(1)
        assert abs(changed.float().mean() - share) < 0.25
        assert torch.equal(torch.where(swapped != images, swapped, 0), torch.where(swapped != images, images.roll(1, 0), 0))


def test_a_sampler_draws_both_labels_equally_often_and_within_one_by_weight(records: list[Record]) -> None:
    weights = np.array([3.0 if index % 2 else 1.0 for index in range(len(records))])
    drawn = batches.balanced_sampler(records, weights).weights.numpy()
    for label in ("NORMAL", "PNEUMONIA"):
        assert sum(float(each) for each, record in zip(drawn, records, strict=True) if record.label == label) == pytest.approx(
            1
        )
    assert len(set(np.round(weights / drawn, 6))) <= 2


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_a_process_cannot_read_is_named_in_one_line(records: list[Record], tmp_path: Path, workers: int) -> None:
    images = Images(choices(tmp_path, workers=workers), records[:4], Targets(records), batches.plain(64))
    with pytest.raises(DataError) as raised:
        list(batches.read_batches(batches.loader(images), "read"))
    [line] = str(raised.value).splitlines()
    assert line.startswith(f"{tmp_path / records[0].path}: [Errno 2] No such file")


@pytest.mark.parametrize("name", [*ALTERATIONS, *UNSEEN])
def test_an_alteration_changes_a_copy_and_is_the_same_each_time_and_in_a_process_that_is_spawned(name: str) -> None:
    image = grey(300, 240)
    altered, again = (ALTERATIONS | UNSEEN)[name](image), pickle.loads(pickle.dumps((ALTERATIONS | UNSEEN)[name]))(image)
    assert altered.dtype == np.uint8 and altered.ndim == 2 and np.array_equal(altered, again)
    assert not np.array_equal(altered, image) and np.array_equal(image, grey(300, 240))


def test_alterations_do_what_their_names_say() -> None:
    altered = {name: alter(SLOPE) for name, alter in ALTERATIONS.items()}
    assert altered["dark (gamma 1.5)"].mean() < SLOPE.mean() < altered["bright (gamma 0.67)"].mean()
    assert altered["low contrast"].std() < SLOPE.std() < altered["high contrast"].std()
    assert np.array_equal(altered["upper left 80 %"], SLOPE[:80, :80])
    assert np.array_equal(altered["lower right 80 %"], SLOPE[20:, 20:])
    assert np.array_equal(altered["middle 70 % of each side"], SLOPE[15:85, 15:85])
    assert altered["black frame"].shape == (120, 120)
    masked = altered["corners masked"]
    assert (masked[0, 0], masked[50, 50]) == (int(np.median(SLOPE)), SLOPE[50, 50])


def test_phantoms_are_the_same_for_the_same_seed_and_differ_otherwise() -> None:
    first, again, other = (phantoms.draw(np.random.default_rng(seed), sick=True) for seed in (0, 0, 1))
    assert np.array_equal(first, again) and first.shape != other.shape


def test_images_that_are_no_x_rays_are_grey_large_enough_to_be_served_and_no_two_alike() -> None:
    kinds = out_of_distribution.images()
    assert {kind: len(images) for kind, images in kinds.items()} == {"drawn document": 50, "noise": 96, "photograph": 80}
    for images in kinds.values():
        assert all(image.dtype == np.uint8 and image.ndim == 2 and min(image.shape) >= 32 for image in images)
        assert len({image.tobytes() for image in images}) == len(images)
    assert all(np.median(page) > 200 and page.min() < 100 for page in kinds["drawn document"])  # mostly paper
