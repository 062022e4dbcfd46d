"""The command line: a mistake gets one line that names it."""

import sys
from pathlib import Path

import pytest

from training import config, phantom
from training.__main__ import main
from training.config import Config, Data


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To work in: a little data, a configuration, and a run that was stopped before its first stage had finished."""
    monkeypatch.chdir(tmp_path)
    phantom.write_data_set(Path("data"), 4)
    Path("run.toml").write_text("")
    Path("runs/1").mkdir(parents=True)
    config.save_config(Config(data=Data(folder="gone")), Path("runs/1/config.json"))


TRAIN = ["train", "--data", "data", "--config", "run.toml"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--config", "run.toml"], "no data: give --data"),
        (["train", "--data", "nowhere", "--config", "run.toml"], "nowhere: no folder «train»"),
        (["train", "--data", "data", "--config", "nothing.toml"], "nothing.toml"),
        (["export", "--run", "nowhere"], "nowhere/config.json"),
        (["export", "--run", "runs/1"], "manifest.csv: no manifest"),
        (["train", "--from", "export"], "--from needs --run"),
        (["train", "--run", "runs/1", "--from", "audit"], "gone: no folder «train»"),
        ([*TRAIN, "--run", "runs/1"], "runs/1 exists; runs are not overwritten"),
        ([*TRAIN, "--run", "run.toml/1"], "run.toml/1 cannot be made"),
        ([*TRAIN, "--out", "data"], "--out data: exists and is not a model folder"),
        ([*TRAIN, "--out", "run.toml/x"], "cannot write to run.toml"),
        (TRAIN, "4 images of"),
    ],
)
def test_a_mistake_gets_one_line(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    assert main() == 1
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("medxfer: ")
    assert words in errors[0]
