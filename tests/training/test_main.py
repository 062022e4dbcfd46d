"""The command line: a mistake gets one line that names it."""

import shutil
import sys
from pathlib import Path

import pytest

from tests.conftest import DEFAULT_MODEL
from training import config
from training.__main__ import main
from training.config import Config, Data
from training.data import phantoms


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To work in: a little data, a configuration, and a run that was stopped before its first stage had finished."""
    monkeypatch.chdir(tmp_path)
    phantoms.write_data_set(Path("data"), 4)
    phantoms.write_data_set(Path("few"), 2)
    Path("run.toml").write_text("")
    Path("runs/1").mkdir(parents=True)
    config.save_config(Config(data=Data(folder="gone")), Path("runs/1/config.json"))
    Path("text.jpeg").write_text("hello")
    shutil.copytree("data/train", "twice")
    shutil.copy(next(Path("twice/NORMAL").iterdir()), "twice/PNEUMONIA/again.jpeg")


MODEL = str(DEFAULT_MODEL)
TRAIN = ["train", "--data", "data", "--config", "run.toml"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--config", "run.toml"], "no data: give --data"),
        (["train", "--data", "nowhere", "--config", "run.toml"], "nowhere: no folder «train»"),
        (["train", "--data", "data", "--config", "nothing.toml"], "nothing.toml"),
        (["export", "--run", "nowhere"], "nowhere/config.json"),
        (["export", "--run", "runs/1"], "manifest.csv: no manifest"),
        (["train", "--from", "export"], "--from needs --resume"),
        (["train", "--resume", "runs/1", "--from", "audit"], "gone: no folder «train»"),
        (["train", "--resume", "runs/1"], "gone: no folder «train»"),
        (["train", "--resume", "runs/7"], "runs/7/config.json: not a run folder"),
        (["train", "--config", "run.toml", "--dry-run"], "no data: give --data"),
        (["ablation", "runs/1", "runs/7"], "runs/7/config.json: not a run folder"),
        (["train", "--resume", "runs/1", "--data", "typo"], "typo: no folder «train»"),
        (["fit", "--run", "runs/1", "--seed", "7"], "--seed 7: the run has 1 seeds"),
        (["phantoms", "new", "--count", "-5"], "--count -5 --seed 0: at least 2 images"),
        (["recalibrate", MODEL, "--data", "twice", "--out", "out"], "has the same bytes as NORMAL/"),
        (["predict", "nowhere", "text.jpeg"], "nowhere: no such folder"),
        (["compare", MODEL, MODEL, "--data", "nowhere"], "nowhere: two label folders"),
        (["compare", MODEL, MODEL, "--data", "data"], "data: two label folders with images are needed, found 0"),
        (["recalibrate", MODEL, "--data", "few/train", "--out", "out"], "at least 5 of each are needed"),
        (["recalibrate", MODEL, "--data", "data/train", "--out", "data"], "--out data: exists and is not a model folder"),
        ([*TRAIN, "--run", "runs/1"], "runs/1 exists; runs are not overwritten"),
        ([*TRAIN, "--run", "run.toml/1"], "run.toml/1 cannot be made"),
        ([*TRAIN, "--out", "/dev/null"], "--out /dev/null: exists and is not a model folder"),
        ([*TRAIN, "--out", "data"], "--out data: exists and is not a model folder"),
        ([*TRAIN, "--out", "run.toml/x"], "run.toml/x: cannot write to"),
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


def test_a_dry_run_shows_what_is_there_and_writes_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    phantoms.write_data_set(Path("more"), 60)
    before = sorted(Path().rglob("*"))
    monkeypatch.setattr(sys, "argv", ["training", "train", "--data", "more", "--config", "phantom", "--dry-run"])
    assert main() == 0
    output = capsys.readouterr().out
    assert "60 files in more" in output
    assert '"image_size": 96' in output
    assert "nothing was written" in output
    assert sorted(Path().rglob("*")) == before


def test_an_image_that_is_none_is_named_and_the_others_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = next(Path("data/train/NORMAL").iterdir())
    monkeypatch.setattr(sys, "argv", ["training", "predict", MODEL, "text.jpeg", "gone.png", str(good)])
    assert main() == 1
    captured = capsys.readouterr()
    assert captured.out.startswith(str(good))
    assert "text.jpeg: the content is neither" in captured.err
    assert "gone.png: " in captured.err
    assert "2 of 3 images could not be read" in captured.err


def test_too_few_patients_to_calibrate_on_are_found_before_fitting(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    phantoms.write_data_set(Path("more"), 60)
    Path("small.toml").write_text("[data]\nfolds = 3\nshifted_fraction = 0.05")
    monkeypatch.setattr(sys, "argv", ["training", "train", "--data", "more", "--config", "small.toml", "--dry-run"])
    assert main() == 1
    assert "patients of «NORMAL», and 5 are needed to calibrate on: more images, or a larger data.shifted_fraction" in (
        capsys.readouterr().err
    )
