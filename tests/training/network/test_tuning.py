from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader

from training.config import Backbone, Config, ConfigError, Data, Fit
from training.data.batches import Kinds, Loader
from training.data.manifest import Record
from training.network import backbone
from training.network.backbone import Network
from training.network.history import FIGURES, Row
from training.network.tuning import FineTuning

_FIELDS = {"series": "", "number": 0, "width": 1, "height": 1, "sha256": "", "official_split": "train", "cause": ""}
RECORDS = [Record(path=label, patient=label, label=label, **_FIELDS) for label in "AB"]  # type: ignore[arg-type]  # right ones
KINDS = Kinds(RECORDS, positive="B")


def small() -> Network:
    torch.manual_seed(0)
    return backbone.build(Backbone(name="resnet18", weights="none", image_size=32)).eval()


def bright_and_dark(brighter: float = 2) -> Loader:
    """Bright images are of kind 1, B."""
    kinds = torch.arange(24) % 2
    images = torch.randn(24, 1, 32, 32, generator=torch.Generator().manual_seed(0)) + brighter * kinds.view(-1, 1, 1, 1)
    return DataLoader(list(zip(images, kinds, strict=True)), batch_size=8)  # type: ignore[arg-type]  # a list is a data set


def row(epoch: int) -> Row:
    return Row(epoch=epoch, seconds=1, train_loss=0.5, **dict.fromkeys(FIGURES, 0.5))


def tuned(epochs: int) -> FineTuning:
    tuning = FineTuning(small(), Config(fit=Fit(epochs=4, learning_rate=1e-3)), len(bright_and_dark()), KINDS.labels_of)
    for _ in range(epochs):
        tuning.run_epoch(bright_and_dark(), "epoch")
    return tuning


def test_fine_tuning_lowers_the_loss() -> None:
    tuning = tuned(0)
    losses = [tuning.run_epoch(bright_and_dark(), "epoch")[1] for _ in range(4)]
    assert losses[-1] < losses[0] / 2


def test_what_is_restored_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    tuned(2).save([row(0), row(1)], tmp_path / "resume.pt")
    restored, undisturbed = tuned(0), tuned(4)
    assert restored.restore(tmp_path / "resume.pt") == [row(0), row(1)]
    for _ in range(2):
        restored.run_epoch(bright_and_dark(), "epoch")
    for name, value in undisturbed.average.state_dict().items():
        assert torch.equal(value, restored.average.state_dict()[name]), name
    for name, value in undisturbed.network.state_dict().items():
        assert torch.equal(value, restored.network.state_dict()[name]), name


def test_another_configuration_is_not_gone_on_with_but_other_paths_are(tmp_path: Path) -> None:
    tuned(0).save([], tmp_path / "resume.pt")
    moved = Config(data=Data(folder="elsewhere"), fit=Fit(epochs=4, learning_rate=1e-3))
    assert FineTuning(small(), moved, 3, KINDS.labels_of).restore(tmp_path / "resume.pt") == []
    with pytest.raises(ConfigError, match="another configuration"):
        FineTuning(small(), Config(fit=Fit(epochs=5)), 3, KINDS.labels_of).restore(tmp_path / "resume.pt")


def test_a_damaged_file_to_go_on_from_is_named(tmp_path: Path) -> None:
    tuned(0).save([], tmp_path / "resume.pt")
    content = (tmp_path / "resume.pt").read_bytes()
    for damaged in (content[:-1000], b"", b"hello"):
        (tmp_path / "resume.pt").write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"resume\.pt is damaged"):
            tuned(0).restore(tmp_path / "resume.pt")


def test_the_cause_is_learned_beside_the_label() -> None:
    batch, kind = next(iter(bright_and_dark()))
    losses = {}
    for causes in (0.0, 2.0):
        torch.manual_seed(0)
        tuning = FineTuning(small(), Config(fit=Fit(causes=causes)), 1, KINDS.labels_of)
        losses[causes] = tuning.loss(batch, kind).item()
    with backbone.autocast(batch.device):  # bfloat16 on some CPUs, where it moves the loss by a hundredth
        kinds = tuning.kinds_head(tuning.network.pooled(batch))
    of_kinds = torch.nn.functional.cross_entropy(kinds.float(), kind)
    assert losses[2.0] - losses[0.0] == pytest.approx(2 * of_kinds.item(), rel=1e-4)
