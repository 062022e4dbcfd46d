from pathlib import Path

import pytest

from service.errors import ArtefactError
from tests.conftest import DEFAULT_MODEL
from training import card, model_folder


def folder(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "file").write_text(content)
    return path


def test_a_folder_is_put_in_place_of_another_whole(tmp_path: Path) -> None:
    old = folder(tmp_path / "model", "old")
    folder(tmp_path / "model.old", "left over from a kill")
    model_folder.put_in_place(folder(tmp_path / "model.tmp", "new"), old)
    assert (old / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_the_service_would_refuse_is_not_measured_either(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="SHA256SUMS"):
        model_folder.load(tmp_path)


def test_the_card_of_the_default_model_is_what_its_description_says() -> None:
    description = model_folder.load(DEFAULT_MODEL).artefact.description
    assert card.render(description) == (DEFAULT_MODEL / "README.md").read_text(encoding="utf-8")
