import json
from pathlib import Path

import pytest

from training import config, run_folder
from training.config import Config, ConfigError

STAGES = ["audit", "fit", "export"]


def finish(folder: Path, *stages: str) -> str | None:
    """The first unfinished stage after these have run."""
    for stage in stages:
        with run_folder.stage(folder, stage, STAGES):
            pass
    return run_folder.first_unfinished(folder, STAGES)


def test_runs_are_numbered_and_keep_configuration_and_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [str(run_folder.create(Config(seed=seed), None)) for seed in range(2)] == ["runs/1", "runs/2"]
    assert config.read_saved(Path("runs/2/config.json")) == Config(seed=1)
    assert json.loads(Path("runs/1/environment.json").read_text()) == run_folder.environment()


def test_a_run_is_never_overwritten(tmp_path: Path) -> None:
    run_folder.create(Config(), tmp_path / "mine")
    with pytest.raises(ConfigError, match=r"mine exists; runs are not overwritten \(to continue it: train --resume"):
        run_folder.create(Config(), tmp_path / "mine")


def test_a_run_continues_with_its_first_unfinished_stage(tmp_path: Path) -> None:
    assert [finish(tmp_path), finish(tmp_path, "audit"), finish(tmp_path, "fit", "export")] == ["audit", "fit", None]


def test_a_stage_that_runs_again_undoes_those_after_it(tmp_path: Path) -> None:
    assert finish(tmp_path, *STAGES, "fit") == "export"


def test_a_stage_that_fails_is_unfinished(tmp_path: Path) -> None:
    finish(tmp_path, *STAGES)
    with pytest.raises(ZeroDivisionError), run_folder.stage(tmp_path, "fit", STAGES):
        raise ZeroDivisionError
    assert run_folder.first_unfinished(tmp_path, STAGES) == "fit"
