"""The command line: an error gets one line that names it."""

import io
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from unittest.mock import patch

import pytest

from tests.conftest import DEFAULT_MODEL
from training import run_folder
from training.__main__ import main
from training.config import Config, Data
from training.data import phantoms

MODEL = str(DEFAULT_MODEL)
TRAIN = ["train", "--data", "data", "--config", "run.toml"]


def run(*arguments: str) -> tuple[int, str, str]:
    """Exit code, output and errors of `python -m training`, in this process, since importing torch takes seconds."""
    output, errors = io.StringIO(), io.StringIO()
    with patch.object(sys, "argv", ["training", *arguments]), redirect_stdout(output), redirect_stderr(errors):
        code = main()
    return code, output.getvalue(), errors.getvalue()


@pytest.fixture(autouse=True, scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The working directory: some data, a configuration, and a run without a finished stage."""
    with pytest.MonkeyPatch.context() as patches:
        patches.chdir(tmp_path_factory.mktemp("here"))
        phantoms.write_data_set(Path("data"), 4)
        shutil.copytree("data/train", "twice")
        shutil.copy(next(Path("twice/NORMAL").iterdir()), "twice/PNEUMONIA/again.jpeg")
        run_folder.create(Config(data=Data(folder="gone")), None)
        Path("run.toml").write_text('backbone = {weights = "none"}')
        Path("text.jpeg").write_text("hello")
        yield


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "--config", "run.toml"], "no data: give --data"),
        (["export", "--run", "nowhere"], "nowhere/config.json"),
        (["export", "--run", "runs/1"], "manifest.csv cannot be read"),
        (["train", "--from", "export"], "--from needs --resume"),
        (["train", "--resume", "runs/1", "--from", "audit"], "gone: no folder «train»"),
        (["train", "--resume", "runs/7"], "runs/7/config.json: not a run folder"),
        (["ablation", "runs/1", "runs/7"], "runs/7/config.json: not a run folder"),
        ([*TRAIN[:2], "gone", *TRAIN[3:]], "gone: no folder «train»"),
        ([*TRAIN, "--weights", "gone.pth"], "gone.pth»: No such file or directory; it is «imagenet»"),
        ([*TRAIN, "--elsewhere", "North=gone"], "--elsewhere North=gone: no such folder"),
        (["train", "--resume", "runs/1", "--data", "typo"], "typo: no folder «train»"),
        (["fit", "--run", "runs/1", "--seed", "7"], "--seed 7: the run has 1 seeds"),
        (["phantoms", "new", "--count", "-5"], "--count -5 --seed 0: at least 2 images"),
        (["recalibrate", MODEL, "--data", "twice", "--out", "out"], "has the same bytes as NORMAL/"),
        (["predict", "nowhere", "text.jpeg"], "nowhere: no such folder"),
        (["compare", MODEL, MODEL, "--data", "data"], "data: two label folders with images are needed, found 0"),
        (["recalibrate", MODEL, "--data", "data/train", "--out", "out"], "at least 5 of each are needed"),
        (["recalibrate", MODEL, "--data", "data/train", "--out", "data"], "--out data: exists and is not a model folder"),
        ([*TRAIN, "--run", "run.toml/1"], "Not a directory: 'run.toml/1'"),
        ([*TRAIN, "--out", "/dev/null"], "--out /dev/null: exists and is not a model folder"),
        ([*TRAIN, "--out", "run.toml/x"], "run.toml/x: cannot write to"),
        (TRAIN, "4 images of"),
    ],
)
def test_an_error_gets_one_line(arguments: list[str], words: str) -> None:
    code, _, errors = run(*arguments)
    [line] = errors.splitlines()
    assert (code, line[:9]) == (1, "medxfer: ") and words in line


@pytest.mark.parametrize("options", [[], ["--weights", "gone.pth"], ["--elsewhere", "North=gone"], ["--run", "mine"]])
def test_a_run_that_cannot_begin_leaves_no_folder(options: list[str]) -> None:
    before = sorted(Path().rglob("*"))
    assert run(*TRAIN, *options)[0] == 1  # without options: the data are too few, which is found once all are read
    assert sorted(Path().rglob("*")) == before


def test_a_run_that_fails_when_it_is_resumed_keeps_its_folder() -> None:
    assert run("train", "--resume", "runs/1")[0] == 1
    assert Path("runs/1/config.json").exists()


def test_the_device_is_told_and_what_to_expect_of_a_network_that_begins_from_nothing(folder: Path) -> None:
    dry = ("train", "--data", str(folder), "--config", "phantom", "--dry-run", "--device", "cpu")
    _, from_nothing, _ = run(*dry)
    _, from_imagenet, _ = run(*dry, "--weights", "imagenet")
    expected = "needs many thousands of X-rays"
    assert (expected in from_nothing, expected in from_imagenet) == (True, False)
    assert "device: CPU, " in from_nothing and '"device": "cpu"' in from_nothing


def test_a_dry_run_shows_the_data_writes_nothing_and_finds_too_few_patients_to_calibrate_on(folder: Path) -> None:
    before = sorted(Path().rglob("*"))
    code, output, _ = run("train", "--data", str(folder), "--config", "phantom", "--dry-run")
    assert (code, sorted(Path().rglob("*"))) == (0, before)
    assert all(words in output for words in (f"80 files in {folder}", '"image_size": 96', "nothing was written"))
    Path("few.toml").write_text("[data]\nfolds = 3\nshifted_fraction = 0.02")
    code, _, errors = run("train", "--data", str(folder), "--config", "few.toml", "--dry-run")
    found = "patients of «NORMAL» to calibrate on, and 5 are needed: more images, or a larger data.shifted_fraction" in errors
    assert (code, found) == (1, True)


def test_predict_names_images_that_it_cannot_read_and_answers_the_others() -> None:
    good = next(Path("data/train/NORMAL").iterdir())
    code, output, errors = run("predict", MODEL, "text.jpeg", "gone.png", str(good))
    assert code == 1 and output.startswith(str(good))
    assert all(words in errors for words in ("text.jpeg: the content is neither", "gone.png: ", "2 of 3 images"))
