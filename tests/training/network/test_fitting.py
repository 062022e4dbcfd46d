"""The parts of a fit: the linear probe, fine-tuning, and the history of both."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from torch.utils.data import DataLoader

from tests.training.conftest import small_network
from training.config import Config, ConfigError, Data, Fit
from training.data.batches import Loader, Targets
from training.data.manifest import DataError, Record
from training.network import backbone, history, probe, validation
from training.network.history import FIGURES, Row
from training.network.tuning import ALLOWED_OUTSIDE, FineTuning, share_outside

CONFIG = Config(fit=Fit(epochs=4, learning_rate=1e-3))
FIELDS = {"series": "", "number": 0, "width": 1, "height": 1, "sha256": "", "official_split": "train", "cause": ""}


def records(positive: str) -> list[Record]:
    """One of each label, A and B."""
    return [
        Record(path=label, patient=label, label=label, given_label=label, positive=label == positive, **FIELDS)  # type: ignore[arg-type]  # right ones
        for label in "AB"
    ]


TARGETS = Targets(records(positive="B"))


def bright_and_dark(brighter: float = 2) -> Loader:
    """Three batches of 8 images. Bright images are of target 1, B."""
    targets = torch.arange(24) % 2
    images = torch.randn(24, 1, 32, 32, generator=torch.Generator().manual_seed(0)) + brighter * targets.view(-1, 1, 1, 1)
    return DataLoader(list(zip(images, targets, strict=True)), batch_size=8)  # type: ignore[arg-type]  # a list is a data set


def rows(*unseen_aurocs: float) -> list[Row]:
    figures = [{**dict.fromkeys(FIGURES, 0.5), "unseen_auroc": auroc} for auroc in unseen_aurocs]
    return [Row(epoch=epoch, seconds=1, train_loss=0.5, **each) for epoch, each in enumerate(figures)]


def tuned(epochs: int, config: Config = CONFIG) -> FineTuning:
    tuning = FineTuning(small_network(), config, len(bright_and_dark()), TARGETS.label_of_class)
    for _ in range(epochs):
        tuning.run_epoch(bright_and_dark(), "epoch")
    return tuning


@pytest.mark.parametrize("positive", ["A", "B"])
def test_the_head_alone_separates_what_frozen_features_can(positive: str) -> None:
    network, targets = small_network("resnet18"), Targets(records(positive))
    before = {name: value.clone() for name, value in network.features.state_dict().items()}
    probe.fit_head(network, [bright_and_dark()], targets)
    figures = validation.validate(network, {"val": bright_and_dark()}, targets)
    assert figures == {"val_auroc": 1, "val_specificity": 1, "val_sensitivity": 1}
    assert all(torch.equal(value, before[name]) for name, value in network.features.state_dict().items())


def test_the_head_is_the_regression_on_all_views_together() -> None:
    network, views = small_network("resnet18"), [bright_and_dark(), bright_and_dark(brighter=1)]
    outputs = [validation.outputs(network, network.pooled, view, "features") for view in views]
    features, classes = (np.concatenate(arrays) for arrays in zip(*outputs, strict=True))
    weight, bias = probe.regress(features, TARGETS.is_positive(classes))
    probe.fit_head(network, views, TARGETS)
    assert np.diff(network.head.weight.detach(), axis=0)[0] == pytest.approx(weight, rel=1e-6, abs=1e-6)
    assert np.diff(network.head.bias.detach()) == pytest.approx(bias, rel=1e-6, abs=1e-5)


def test_fine_tuning_lowers_the_loss() -> None:
    tuning = tuned(0)
    losses = [tuning.run_epoch(bright_and_dark(), "epoch")[1] for _ in range(4)]
    assert losses[-1] < losses[0] / 2


def test_a_restored_fit_continues_to_the_same_weights(tmp_path: Path) -> None:
    tuned(1).save(rows(0.5, 0.5), tmp_path / "resume.pt")
    restored, undisturbed = tuned(0), tuned(2)
    assert restored.restore(tmp_path / "resume.pt") == rows(0.5, 0.5)
    restored.run_epoch(bright_and_dark(), "epoch")
    for part in ("network", "average"):
        state = getattr(restored, part).state_dict()
        assert all(torch.equal(value, state[name]) for name, value in getattr(undisturbed, part).state_dict().items())


def test_a_fit_continues_with_other_paths_but_not_with_another_configuration_or_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "resume.pt"
    tuned(0).save([], path)
    moved, changed = tuned(0, replace(CONFIG, data=Data(folder="elsewhere"))), tuned(0, Config(fit=Fit(epochs=5)))
    assert moved.restore(path) == []
    with pytest.raises(ConfigError, match="another configuration"):
        changed.restore(path)
    for damaged in (path.read_bytes()[:-1000], b"", b"hello"):
        path.write_bytes(damaged)
        with pytest.raises(ConfigError, match=r"resume\.pt is damaged"):
            moved.restore(path)


def test_the_cause_is_learned_beside_the_label() -> None:
    batch, target = next(iter(bright_and_dark()))
    tunings = [tuned(0, Config(fit=Fit(causes=causes))) for causes in (0.0, 2.0)]
    without, with_causes = (tuning.loss(batch, target).item() for tuning in tunings)
    with backbone.autocast(batch.device):  # bfloat16 on some CPUs, which moves the loss by some thousandths
        classes = tunings[1].class_head(tunings[1].network.pooled(batch))
    class_loss = torch.nn.functional.cross_entropy(classes.float(), target)
    assert with_causes - without == pytest.approx(2 * class_loss.item(), rel=1e-4)


def test_a_history_reads_back_and_a_missing_or_damaged_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No such file.*the stage «fit» writes it"):
        history.read(tmp_path)
    history.write(rows(0.5, 0.6), tmp_path)
    assert history.read(tmp_path) == rows(0.5, 0.6)
    assert [path.name for path in tmp_path.iterdir()] == ["history.csv"]
    os.truncate(tmp_path / "history.csv", (tmp_path / "history.csv").stat().st_size - 8)
    with pytest.raises(DataError, match=r"history\.csv cannot be read"):
        history.read(tmp_path)


def test_the_first_of_the_best_is_kept_and_fitting_ends_with_the_epochs_or_the_patience() -> None:
    assert history.best(rows(0.5, 0.7, 0.6, 0.7)).epoch == 1
    over = {(): False, (0.5, 0.6, 0.5): False, (0.6, 0.5, 0.5, 0.5): True, (0.1, 0.2, 0.3, 0.4, 0.5, 0.6): True}
    assert {aurocs: history.is_over(rows(*aurocs), epochs=5, patience=3) for aurocs in over} == over


def test_an_epoch_is_chosen_by_the_mean_of_three_validations_of_which_the_matched_may_be_unknown() -> None:
    first, second = rows(0.6, 0.6)
    second = replace(second, matched_auroc=0.6, altered_auroc=0, val_auroc=0)
    assert history.best([first, second]) is second
    unmatched = [replace(row, matched_auroc=None) for row in (first, second)]
    assert [history.score(history.figures_of(row)) for row in unmatched] == [pytest.approx(0.55)] * 2
    assert history.line(unmatched[0], is_best=False).endswith(" │ –")


def test_the_average_of_the_weights_forgets_the_first_ones_in_a_short_fit() -> None:
    tuning = tuned(0)
    before, now = torch.zeros(3), torch.ones(3)
    for step in range(1, 73):
        tuning.update_average([before], [now], torch.tensor(step))
    assert before.mean() > 0.99, "a constant decay of 0.995 would leave 70 % of the first weights"


@pytest.mark.parametrize("frozen", [True, False])
def test_the_statistics_of_batch_norms_stay_where_they_are_frozen_and_everything_else_learns(frozen: bool) -> None:
    before, after = small_network(), tuned(1, replace(CONFIG, fit=replace(CONFIG.fit, frozen_norm=frozen))).network
    changed = {name for name, value in before.state_dict().items() if not torch.equal(value, after.state_dict()[name])}
    assert ("features.bn1.running_mean" in changed) is not frozen
    assert {"features.bn1.weight", "features.conv_stem.weight", "head.weight"} <= changed


def test_the_lowest_stages_keep_what_they_borrowed() -> None:
    before, after = small_network(), tuned(1, replace(CONFIG, fit=replace(CONFIG.fit, frozen_stages=2))).network
    changed = {name for name, value in before.state_dict().items() if not torch.equal(value, after.state_dict()[name])}
    assert {"features.blocks.1.0.conv_pw.weight", "features.blocks.1.0.bn1.running_mean", "head.weight"} <= changed
    assert not [name for name in changed if name.startswith(("features.conv_stem", "features.bn1", "features.blocks.0."))]


def test_evidence_outside_the_middle_costs_and_on_the_border_twice() -> None:
    places = torch.eye(64).view(64, 8, 8)  # each map has all its evidence at one place
    shares = share_outside(-places).view(8, 8)
    at = {(0, 3): 1, (7, 7): 1, (1, 4): 0.5, (2, 2): 0, (5, 4): 0}
    assert {place: shares[place].item() for place in at} == at
    assert share_outside(torch.ones(1, 8, 8)).item() == pytest.approx((28 + 0.5 * 20) / 64)
    images, target = torch.rand(4, 1, 128, 128), torch.tensor([0, 1, 0, 1])
    tunings = [tuned(0, Config(fit=Fit(outside=outside))) for outside in (0.0, 2.0)]
    without, with_outside = (tuning.loss(images, target).item() for tuning in tunings)
    with backbone.autocast(images.device):
        maps = tunings[1].network.maps(images)
    shares = share_outside(tunings[1].network.evidence(maps.float()))
    too_much = (shares - ALLOWED_OUTSIDE).clamp_min(0).mean().item()
    assert with_outside - without == pytest.approx(2 * too_much, rel=1e-4)
    assert too_much > 0


def test_a_line_fits_below_its_header() -> None:
    assert abs(len(history.line(rows(0.5)[0], is_best=False)) - len(history.HEADER.splitlines()[1])) <= 1
