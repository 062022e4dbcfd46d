from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from training import backbone, batches, fit
from training.backbone import Network
from training.batches import Loader
from training.config import Augment, Backbone, Config, ConfigError, Data, Fit
from training.data import Record
from training.fit import FineTuning
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


def tuned(epochs: int) -> FineTuning:
    tuning = FineTuning(small(), Config(fit=Fit(epochs=4, learning_rate=1e-3)), len(bright_and_dark()))
    for _ in range(epochs):
        tuning.run_epoch(bright_and_dark(), "epoch")
    return tuning


def test_fine_tuning_lowers_the_loss() -> None:
    tuning = tuned(0)
    losses = [tuning.run_epoch(bright_and_dark(), "epoch")[1] for _ in range(4)]
    assert losses[-1] < losses[0] / 2


def test_what_is_restored_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    tuned(2).save([{"epoch": 0}, {"epoch": 1}], tmp_path / "resume.pt")
    restored, undisturbed = tuned(0), tuned(4)
    assert restored.restore(tmp_path / "resume.pt") == [{"epoch": 0}, {"epoch": 1}]
    for _ in range(2):
        restored.run_epoch(bright_and_dark(), "epoch")
    for name, value in undisturbed.average.state_dict().items():
        assert torch.equal(value, restored.average.state_dict()[name]), name
    for name, value in undisturbed.network.state_dict().items():
        assert torch.equal(value, restored.network.state_dict()[name]), name


def test_another_configuration_is_not_gone_on_with_but_other_paths_are(tmp_path: Path) -> None:
    tuned(0).save([], tmp_path / "resume.pt")
    moved = Config(data=Data(folder="elsewhere"), fit=Fit(epochs=4, learning_rate=1e-3))
    assert FineTuning(small(), moved, 3).restore(tmp_path / "resume.pt") == []
    with pytest.raises(ConfigError, match="another configuration"):
        FineTuning(small(), Config(fit=Fit(epochs=5)), 3).restore(tmp_path / "resume.pt")


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


def test_progress_passes_everything_on() -> None:
    assert list(track(range(5), "test")) == [0, 1, 2, 3, 4]
