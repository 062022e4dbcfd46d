import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from training import backbone, batches, fit
from training.backbone import Network
from training.batches import Loader
from training.config import Augment, Backbone, Config, Fit
from training.data import Record
from training.progress import track


def small() -> Network:
    torch.manual_seed(0)
    return backbone.build(Backbone(name="resnet18", weights="none", image_size=32)).eval()


def bright_and_dark(count: int = 24) -> Loader:
    """Bright images are label 1."""
    labels = torch.arange(count) % 2
    images = torch.randn(count, 1, 32, 32, generator=torch.Generator().manual_seed(0)) + 2.0 * labels.view(-1, 1, 1, 1)
    return DataLoader(list(zip(images, labels, strict=True)), batch_size=8)  # type: ignore[arg-type]  # a list is a data set


@pytest.mark.parametrize("positive", [0, 1])
def test_the_head_alone_separates_what_frozen_features_can(positive: int) -> None:
    network = small()
    before = {name: value.clone() for name, value in network.features.state_dict().items()}
    fit.fit_head(network, bright_and_dark(), positive)
    margin, truth = fit.margins(network, bright_and_dark(), positive)
    assert np.array_equal(margin > 0, truth)
    assert all(torch.equal(value, before[name]) for name, value in network.features.state_dict().items())


def test_fine_tuning_lowers_the_loss_and_the_same_seed_gives_the_same_weights() -> None:
    def tuned() -> tuple[list[float], torch.Tensor]:
        network = small()
        config = Config(fit=Fit(epochs=4, learning_rate=1e-3))
        rows = [row for row, _ in fit.fine_tune(network, bright_and_dark(), config)]
        return [row["train_loss"] for row in rows[1:]], network.head.weight.detach()

    losses, weight = tuned()
    again, weight_again = tuned()
    assert losses[-1] < losses[0] / 2
    assert losses == again
    assert torch.equal(weight, weight_again)


def test_both_labels_are_drawn_equally_often() -> None:
    fields = {"series": "", "number": 0, "cause": "", "width": 1, "height": 1, "sha256": "", "official_split": "train"}
    records = [
        Record(path=str(index), patient=str(index), label="rare" if index < 10 else "common", **fields)  # type: ignore[arg-type]
        for index in range(100)
    ]
    torch.manual_seed(0)
    drawn = [index for _ in range(20) for index in batches.balanced_sampler(records)]
    assert np.mean([index < 10 for index in drawn]) == pytest.approx(0.5, abs=0.05)


def test_augmented_images_have_the_networks_size_and_differ() -> None:
    transform = batches.augmented(64, Augment())
    image = torch.rand(1, 100, 80)
    first, second = transform(image), transform(image)
    assert first.shape == second.shape == (1, 64, 64)
    assert not torch.equal(first, second)


def test_a_checkpoint_is_replaced_whole(tmp_path: Path) -> None:
    network = small()
    backbone.save(network, tmp_path / backbone.BEST)
    backbone.save(network, tmp_path / backbone.BEST)
    assert [path.name for path in tmp_path.iterdir()] == [backbone.BEST]


def test_the_history_keeps_a_row_for_each_epoch(tmp_path: Path) -> None:
    for epoch in range(3):
        fit.append_row(tmp_path / "history.csv", {"epoch": epoch, "train_loss": 0.5})
    with (tmp_path / "history.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["0", "1", "2"]


def test_progress_passes_everything_on() -> None:
    assert list(track(range(5), "test")) == [0, 1, 2, 3, 4]
