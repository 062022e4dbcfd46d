"""The command line: an error gets one line that names it."""

import hashlib
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
from training.graph import seen

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
        (["train", "--resume", "runs/1", "--from", "audit"], "gone: no such folder"),
        (
            ["train", "--resume", "runs/1", "--name", "x", "--source", "y"],
            "keeps the configuration of the run: without --name, --source",
        ),
        (["train", "--resume", "runs/7"], "runs/7/config.json: not a run folder"),
        (["ablation", "runs/1", "runs/7"], "runs/7/config.json: not a run folder"),
        ([*TRAIN[:2], "gone", *TRAIN[3:]], "gone: no such folder"),
        ([*TRAIN, "--weights", "gone.pth"], "gone.pth»: No such file or directory; it is «imagenet»"),
        ([*TRAIN, "--elsewhere", "North=gone"], "--elsewhere North=gone: no such folder"),
        (["train", "--resume", "runs/1", "--data", "typo"], "typo: no such folder"),
        (["fit", "--run", "runs/1", "--seed", "7"], "--seed 7: the run has 1 seeds"),
        (["phantoms", "new", "--count", "-5"], "--count -5 --seed 0: at least 2 images"),
        (["recalibrate", MODEL, "--data", "twice", "--out", "out"], "has the same bytes as NORMAL/"),
        (["compare", "nowhere", MODEL, "--data", "data/train"], "nowhere: no such folder"),
        (["compare", MODEL, MODEL, "--data", "run.toml"], "run.toml: the table has no line"),
        (["recalibrate", MODEL, "--data", "data/train", "--out", "out"], "patients to calibrate on; at least 5 are needed"),
        (["recalibrate", MODEL, "--data", "data/train", "--out", "data"], "--out data: exists and is not a model folder"),
        ([*TRAIN, "--run", "run.toml/1"], "Not a directory: 'run.toml/1'"),
        ([*TRAIN, "--out", "/dev/null"], "--out /dev/null: exists and is not a model folder"),
        ([*TRAIN, "--out", "run.toml/x"], "run.toml/x: cannot write to"),
        (TRAIN, "«NORMAL» has 2 patients to train on, outside given splits and without copies; at least 20"),
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
    assert "device: CPU, " in from_nothing and 'device = "cpu"' in from_nothing


def test_a_dry_run_shows_the_data_and_its_time_and_writes_nothing(folder: Path) -> None:
    before = sorted(Path().rglob("*"))
    code, output, _ = run("train", "--data", str(folder), "--config", "phantom", "--dry-run")
    assert (code, sorted(Path().rglob("*"))) == (0, before)
    section = '[backbone]  name = "resnet10t", weights = "none", image_size = 96'
    assert all(words in output for words in (f"80 images in {folder}", section, "in all", "nothing was written"))


def test_positive_name_and_source_take_precedence_over_the_configuration(folder: Path) -> None:
    words = ["--positive", "NORMAL", "--name", "ours", "--source", "Our clinic's set"]
    code, output, _ = run("train", "--data", str(folder), "--config", "phantom", *words, "--dry-run")
    shown = " ".join(output.split())
    of_phantom = "crop_area = [0.6, 1.0]"
    for choice in ('name = "ours"', 'positive = "NORMAL"', 'source = "Our clinic\'s set"', of_phantom):
        assert choice in shown
    assert code == 0


def test_a_name_that_no_address_can_hold_is_a_wrong_option(capsys: pytest.CaptureFixture[str]) -> None:
    with patch.object(sys, "argv", ["training", "train", "--name", "our clinic"]), pytest.raises(SystemExit, match="2"):
        main()
    assert "argument --name: «our clinic»: only letters A to Z" in capsys.readouterr().err


def test_a_finished_model_is_measured_on_anybodys_images_and_says_which_of_them_it_has_seen(folder: Path) -> None:
    code, output, _ = run("evaluate", "--model", MODEL, str(folder), "--csv", "answers.csv")
    assert (code, len(Path("answers.csv").read_text().splitlines())) == (0, 81)
    assert all(words in output for words in ("AUROC", "called uncertain", "answers.csv")) and "WARNING" not in output
    shutil.copytree(MODEL, "known")
    some = sorted(folder.rglob("*.jpeg"))[:3]
    seen.write(Path("known"), [hashlib.sha256(path.read_bytes()).hexdigest() for path in some])
    _, output, _ = run("compare", MODEL, "known", "--data", str(folder))
    assert "WARNING: known was fitted or calibrated on 3 of these 80 images" in output
    Path("known/seen.txt").unlink()
    _, output, _ = run("evaluate", "--model", "known", str(folder))
    assert "note: known does not say which images it has seen" in output


def test_evaluate_takes_a_run_or_a_model_with_images() -> None:
    for arguments in (["--model", MODEL], ["--run", "runs/1", "--model", MODEL, "data"], ["--run", "runs/1", "--csv", "x.csv"]):
        code, _, errors = run("evaluate", *arguments)
        assert (code, "evaluate needs either --run RUN, or --model MODEL and a folder" in errors) == (1, True)
