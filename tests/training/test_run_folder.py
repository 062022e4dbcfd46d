"""A run's folder: its configuration, its finished stages, files that are whole or old, and interrupts."""

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.conftest import ROOT
from training import config, config_files, files, run_folder
from training.config import Config, ConfigError

STAGES = ["audit", "fit", "export"]
SWALLOWED = """
import signal, weakref
from training import progress
progress.catch_all_interrupts()
thing = set()
reference = weakref.ref(thing, lambda _: signal.raise_signal(signal.SIGINT))
del thing  # Python prints what a callback raises, and continues
for step in progress.track([1, 2], "steps"):
    print("continued")
"""


@pytest.mark.parametrize("preset", config_files.presets().split(", "))
def test_every_preset_can_be_read(preset: str) -> None:
    config_files.load(Path(preset))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[fit]\nepoch = 3", r"there is no key fit\.epoch; fit\.epochs may be meant"),
        ("epochs = 3", r"there is no key epochs; fit\.epochs may be meant"),
        ("[zzz]", "there is no key zzz; training"),
        ("[zzz]\nqqq = 3", r"there is no key zzz\.qqq; training/config\.py explains"),
        ("fit = 3", r"run\.toml: fit: Expected `object`"),
        ("[fit]\nepochs = -1", r"run\.toml: fit\.epochs: Expected `int` >= 0"),
        ("[fit]\nlearning_rate = 0", r"fit\.learning_rate"),
        ("[backbone]\nimage_size = 100", r"backbone\.image_size"),
        ("[backbone]\nimage_size = 480", "image_size = 480: at most 448, the short side to which large images are shrunk"),
        ("[augment]\ncrop_area = [0.9, 0.1]", "minimum is greater"),
        ('name = "../escape"', "name"),
        ("[fit", "run.toml"),
        ("base = 3", r"run\.toml: base: Expected"),
        ('base = ""', r"run\.toml: base: Expected"),
        ('base = "slow"', r"run\.toml: base = «slow»: No such file.*the presets are balanced"),
        ('base = "run.toml"', r"run\.toml: base = «run\.toml» leads back: \S*run\.toml → \S*run\.toml"),
        (None, r"run\.toml: No such file.*the presets are balanced, best, fast, kermany, phantom"),
    ],
)
def test_a_missing_file_or_a_wrong_value_is_refused_by_name(tmp_path: Path, text: str | None, reason: str) -> None:
    if text is not None:
        (tmp_path / "run.toml").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        config_files.load(tmp_path / "run.toml")


def test_a_file_changes_only_its_keys_of_its_base(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "clinic.toml").write_text('base = "balanced"\nname = "clinic"\n[data.elsewhere]\nNIH = "nih"\n')
    (tmp_path / "sub" / "run.toml").write_text('base = "../clinic.toml"\n[fit]\nepochs = 9\n[data.elsewhere]\nRSNA = "rsna"\n')
    found, balanced = config_files.load(tmp_path / "sub" / "run.toml"), config_files.load(Path("balanced"))
    assert (found.name, found.fit.epochs, found.data.elsewhere) == ("clinic", 9, {"NIH": "nih", "RSNA": "rsna"})
    assert found.augment == balanced.augment != Config().augment
    assert msgspec.structs.replace(found.fit, epochs=balanced.fit.epochs) == balanced.fit
    run = run_folder.create(found, tmp_path / "run")
    assert "base" not in msgspec.json.decode((run / config.SAVED).read_bytes())
    assert config.read_saved(run / config.SAVED) == found


@pytest.mark.parametrize(
    ("base", "reason"),
    [
        ("[fit]\nepoch = 3", r"base\.toml: there is no key fit\.epoch"),
        ("[fit]\nepochs = -1", r"base\.toml: fit\.epochs"),
        ('base = "run.toml"', r"base\.toml: base = «run\.toml» leads back: \S*run\.toml → \S*base\.toml → \S*run\.toml"),
        ('base = "gone.toml"', r"base\.toml: base = «\S*gone\.toml»: No such file"),
    ],
)
def test_an_error_in_a_base_names_the_file_that_has_it(tmp_path: Path, base: str, reason: str) -> None:
    (tmp_path / "run.toml").write_text('base = "base.toml"\n[fit]\nepochs = 2')
    (tmp_path / "base.toml").write_text(base)
    with pytest.raises(ConfigError, match=reason):
        config_files.load(tmp_path / "run.toml")


def test_runs_are_numbered_and_keep_their_configuration_and_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    choices = config.with_paths(config_files.load(Path("phantom")), folder=tmp_path, weights="none")
    assert [str(run_folder.create(each, None)) for each in (Config(), choices)] == ["runs/1", "runs/2"]
    assert config.read_saved(Path("runs/2/config.json")) == choices and choices.data.folder == str(tmp_path)
    assert msgspec.json.decode(Path("runs/1/environment.json").read_bytes()) == run_folder.environment()
    with pytest.raises(ConfigError, match=r"runs/2 exists; runs are not overwritten \(to continue it: train --resume"):
        run_folder.create(Config(), Path("runs/2"))


def finish(folder: Path, *stages: str) -> str | None:
    for stage in stages:
        with run_folder.stage(folder, stage, STAGES):
            pass
    return run_folder.first_unfinished(folder, STAGES)


def test_a_run_continues_with_its_first_unfinished_stage_and_a_stage_undoes_later_ones(tmp_path: Path) -> None:
    assert [finish(tmp_path), finish(tmp_path, "audit"), finish(tmp_path, "fit", "export")] == ["audit", "fit", None]
    assert finish(tmp_path, "fit") == "export"
    with pytest.raises(ZeroDivisionError), run_folder.stage(tmp_path, "fit", STAGES):
        raise ZeroDivisionError
    assert finish(tmp_path) == "fit"


def test_a_file_is_replaced_in_one_step_and_an_error_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    for text in ("old", "new"):
        with files.atomic_write(path) as temporary:
            temporary.write_text(text)
            assert not path.exists() or path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(ZeroDivisionError), files.atomic_write(path) as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "new"


def test_an_interrupt_that_python_only_prints_ends_the_next_loop() -> None:
    done = subprocess.run([sys.executable, "-c", SWALLOWED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "Exception ignored" not in done.stderr
    assert done.stdout == "" and done.returncode != 0
