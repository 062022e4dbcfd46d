from pathlib import Path

import pytest

from training import config, files
from training.config import ConfigError, load_config


@pytest.mark.parametrize("preset", config.presets().split(", "))
def test_every_preset_can_be_read(preset: str) -> None:
    load_config(Path(preset))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[fit]\nepoch = 3", "epoch"),
        ("[fit]\nepochs = -1", r"fit\.epochs"),
        ("[fit]\nlearning_rate = 0", r"fit\.learning_rate"),
        ('[backbone]\nname = "vgg"', r"backbone\.name"),
        ("[backbone]\nimage_size = 100", r"backbone\.image_size"),
        ("[augment]\ncrop_area = [0.9, 0.1]", "minimum is greater"),
        ('name = "../escape"', "name"),
        ("[fit", "run.toml"),
    ],
)
def test_a_wrong_value_is_refused_by_name(tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        load_config(tmp_path / "run.toml")


def test_a_missing_file_is_named() -> None:
    with pytest.raises(ConfigError, match=r"nothing\.toml: No such file.*the presets are balanced, best, fast, phantom"):
        load_config(Path("nothing.toml"))


def test_the_saved_configuration_is_the_resolved_one(tmp_path: Path) -> None:
    choices = config.with_paths(load_config(Path("phantom")), folder=tmp_path, weights="none")
    files.write_json(tmp_path / "config.json", choices)
    assert config.read_saved(tmp_path / "config.json") == choices
    assert choices.data.folder == str(tmp_path)
