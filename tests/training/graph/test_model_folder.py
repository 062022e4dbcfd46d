import shutil
from pathlib import Path

import msgspec
import pytest

from service.errors import ArtefactError
from tests.conftest import DEFAULT_MODEL
from training.config import Config
from training.data import layouts, manifest, phantoms
from training.data.manifest import DataError
from training.graph import model_folder
from training.stages import card, evaluate


def folder(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "file").write_text(content)
    return path


def test_a_folder_is_put_in_place_of_another_whole(tmp_path: Path) -> None:
    old = folder(tmp_path / "model", "old")
    folder(tmp_path / ".model.old", "left over from a kill")
    model_folder.put_in_place(folder(tmp_path / ".model.new", "new"), old)
    assert (old / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_the_service_would_refuse_is_not_measured_either(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="SHA256SUMS"):
        model_folder.load(tmp_path)


def test_what_a_kill_left_between_two_renames_is_put_back(tmp_path: Path) -> None:
    shutil.copytree(DEFAULT_MODEL, tmp_path / ".model.old")
    assert model_folder.load(tmp_path / "model").artefact.description.labels == ["NORMAL", "PNEUMONIA"]
    assert not (tmp_path / ".model.old").exists()


def test_a_stage_says_which_one_comes_before_it(tmp_path: Path) -> None:
    shutil.copytree(DEFAULT_MODEL, tmp_path / "model")
    description = model_folder.load(tmp_path / "model").artefact.description
    model_folder.rewrite_description(tmp_path / "model", msgspec.structs.replace(description, metrics={}))
    phantoms.write_data_set(tmp_path / "data", 2)
    manifest.write_table(layouts.scan(tmp_path / "data"), tmp_path / manifest.MANIFEST)
    with pytest.raises(DataError, match="run the stage «calibrate» first"):
        evaluate.run(Config(), tmp_path)
    with pytest.raises(DataError, match="run the stage «evaluate» first"):
        card.run(Config(), tmp_path)
