from pathlib import Path

import pytest
import torch

from tests.training.network.small import TARGETS, bright_and_dark, row, small_network
from training.config import Config, ConfigError, Data, Fit
from training.network import backbone
from training.network.tuning import FineTuning

CONFIG = Config(fit=Fit(epochs=4, learning_rate=1e-3))


def tuned(epochs: int, config: Config = CONFIG) -> FineTuning:
    tuning = FineTuning(small_network(), config, len(bright_and_dark()), TARGETS.label_of_class)
    for _ in range(epochs):
        tuning.run_epoch(bright_and_dark(), "epoch")
    return tuning


def test_fine_tuning_lowers_the_loss() -> None:
    tuning = tuned(0)
    losses = [tuning.run_epoch(bright_and_dark(), "epoch")[1] for _ in range(4)]
    assert losses[-1] < losses[0] / 2


def test_a_restored_fit_continues_to_the_same_weights(tmp_path: Path) -> None:
    tuned(1).save([row(0), row(1)], tmp_path / "resume.pt")
    restored, undisturbed = tuned(0), tuned(2)
    assert restored.restore(tmp_path / "resume.pt") == [row(0), row(1)]
    restored.run_epoch(bright_and_dark(), "epoch")
    for part in ("network", "average"):
        state = getattr(restored, part).state_dict()
        assert all(torch.equal(value, state[name]) for name, value in getattr(undisturbed, part).state_dict().items())


def test_a_fit_continues_with_other_paths_but_not_with_another_configuration(tmp_path: Path) -> None:
    tuned(0).save([], tmp_path / "resume.pt")
    assert tuned(0, Config(data=Data(folder="elsewhere"), fit=CONFIG.fit)).restore(tmp_path / "resume.pt") == []
    with pytest.raises(ConfigError, match="another configuration"):
        tuned(0, Config(fit=Fit(epochs=5))).restore(tmp_path / "resume.pt")


def test_a_damaged_file_to_resume_from_is_named(tmp_path: Path) -> None:
    tuning, path = tuned(0), tmp_path / "resume.pt"
    tuning.save([], path)
    for damaged in (path.read_bytes()[:-1000], b"", b"hello"):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"resume\.pt is damaged"):
            tuning.restore(path)


def test_the_cause_is_learned_beside_the_label() -> None:
    batch, target = next(iter(bright_and_dark()))
    losses = {}
    for causes in (0.0, 2.0):
        tuning = tuned(0, Config(fit=Fit(causes=causes)))
        losses[causes] = tuning.loss(batch, target).item()
    with backbone.autocast(batch.device):  # bfloat16 on some CPUs, which moves the loss by some thousandths
        classes = tuning.class_head(tuning.network.pooled(batch))
    class_loss = torch.nn.functional.cross_entropy(classes.float(), target)
    assert losses[2.0] - losses[0.0] == pytest.approx(2 * class_loss.item(), rel=1e-4)
