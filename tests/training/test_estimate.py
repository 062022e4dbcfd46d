"""How long a run takes, and how many epochs there is time for."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from training import config_files, estimate
from training.config import Config, ConfigError, Fit
from training.data import splits
from training.data.manifest import Record
from training.estimate import Pace

PACE = Pace(forward=0.01, step=0.05)


@pytest.fixture(scope="module")
def cut(records: list[Record]) -> list[Record]:
    return splits.split(records, replace(config_files.load(Path("phantom")).data, folds=4), seed=0)


def seconds(records: list[Record], epochs: int, seeds: int = 1) -> float:
    return sum(estimate.stages(Config(fit=Fit(epochs=epochs, seeds=seeds)), records, PACE, 5).values())


def test_a_run_has_as_many_epochs_as_there_is_time_for(cut: list[Record]) -> None:
    for seeds in (1, 3):
        choices = Config(fit=Fit(seeds=seeds))
        minutes = (seconds(cut, 7, seeds) + 1) / 60
        assert estimate.epochs_within(minutes, choices, cut, PACE, 5) == 7


def test_too_few_minutes_are_refused_with_what_would_be_enough(cut: list[Record]) -> None:
    with pytest.raises(ConfigError, match=r"--minutes 0\.5: too few; a run takes [\d.]+ minutes with one epoch"):
        estimate.epochs_within(0.5, Config(), cut, PACE, 5)


def test_a_slower_pace_and_more_seeds_take_longer_and_a_stage_that_is_left_out_takes_nothing(cut: list[Record]) -> None:
    plain = estimate.stages(Config(), cut, PACE, 5)
    slower = estimate.stages(Config(), cut, Pace(0.01, 0.1), 5)
    assert slower["fit"] > plain["fit"] and slower["export"] == plain["export"]
    assert seconds(cut, 2, seeds=2) > seconds(cut, 2)
    assert estimate.stages(Config(int8=False), cut, PACE, 5)["quantise"] == 0 < plain["quantise"]


def test_the_pace_is_measured_on_the_images_themselves(
    folder: Path, cut: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "SECONDS", 0.1)
    phantom = config_files.load(Path("phantom"))
    pace = estimate.measure(replace(phantom, data=replace(phantom.data, folder=str(folder))), cut)
    assert 0 < pace.forward < pace.step
