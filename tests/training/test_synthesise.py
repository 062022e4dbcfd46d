"""Examples of no one: what may be shown, and what is written into the model folder."""

import shutil
from pathlib import Path

import msgspec
import pytest

from service.model.artefact import NoveltyCutoffs
from tests.conftest import DEFAULT_MODEL
from training.config import ConfigError, data_at
from training.data.manifest import DataError
from training.graph import model_folder
from training.tools import synthesise
from training.tools.synthesise import Example, Nearest

EXAMPLE = Example(
    file="normal-1.jpeg",
    sha256="",
    label="NORMAL",
    seed=0,
    look="Look for dark lungs.",
    probability=0.01,
    uncertain=False,
    novelty=1,
    level="typical",
    correlation=0.8,
    distance=20,
    share=0.05,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model, to which nothing is novel, and which does not say what it has seen."""
    folder = shutil.copytree(DEFAULT_MODEL, tmp_path_factory.mktemp("model") / "model")
    (folder / "seen.txt").unlink()
    shutil.rmtree(folder / "examples", ignore_errors=True)
    description = model_folder.description_of(folder)
    metrics = {name: value for name, value in description.metrics.items() if name != "examples"}
    never = NoveltyCutoffs(unusual=1e6, foreign=1e6)
    model_folder.rewrite_description(folder, msgspec.structs.replace(description, novelty=never, metrics=metrics))
    return folder


@pytest.fixture(scope="module")
def judge(model: Path, folder: Path) -> synthesise.Judge:
    return synthesise.Judge(model, data_at(folder))


@pytest.mark.parametrize(
    ("changes", "faults"),
    [
        ({}, []),
        ({"level": "unusual"}, ["is unusual"]),
        ({"probability": 0.9}, ["is called otherwise"]),
        ({"probability": 0.6, "uncertain": True}, []),
        ({"correlation": 0.9}, ["pixels like somebody's"]),
        ({"distance": 10.0}, ["features like somebody's"]),
    ],
)
def test_an_example_is_typical_and_right_and_nobodys(
    judge: synthesise.Judge, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object], faults: list[str]
) -> None:
    monkeypatch.setattr(judge, "real", {"NORMAL": Nearest(correlation=0.9, distance=10.0)})
    assert judge.faults(msgspec.structs.replace(EXAMPLE, **changes)) == faults


def test_of_real_images_the_nearest_is_one_of_another_patient(judge: synthesise.Judge, monkeypatch: pytest.MonkeyPatch) -> None:
    before = judge.real["NORMAL"]
    one_patient = [
        msgspec.structs.replace(record, patient="one") if record.label == "NORMAL" else record for record in judge.records
    ]
    monkeypatch.setattr(judge, "records", one_patient)
    after = judge._nearest_of_real("NORMAL")  # only the other label's images are left
    assert 0.5 < after.correlation < before.correlation < 1
    assert 0 < before.distance < after.distance


def test_a_label_is_drawn_from_its_own_images_alone(judge: synthesise.Judge) -> None:
    for label in judge.description.labels:
        assert len(synthesise.of_label(judge, label)) == sum(record.label == label for record in judge.records)


def test_candidates_are_small_files_and_the_chosen_ones_stand_on_the_card(model: Path, folder: Path, tmp_path: Path) -> None:
    data, out = data_at(folder), tmp_path / "candidates"
    synthesise.run(model, data, count=1, out=out, keep=None)
    assert sorted(path.name for path in out.iterdir()) == ["normal-1.jpeg", "pneumonia-1.jpeg"]
    assert all(path.stat().st_size <= 20_000 for path in out.iterdir())
    assert "examples" not in model_folder.description_of(model).metrics, "candidates change nothing"

    keep = tmp_path / "keep.toml"
    keep.write_text('[[example]]\nlabel = "NORMAL"\nseed = 0\nlook = "Look."')
    copy = shutil.copytree(model, tmp_path / "model")
    (copy / "examples").mkdir()
    (copy / "examples/earlier.jpeg").write_bytes(b"")
    synthesise.run(copy, data, count=1, out=None, keep=keep)
    assert [path.name for path in (copy / "examples").iterdir()] == ["normal-1.jpeg"]
    assert (copy / "examples/normal-1.jpeg").read_bytes() == (out / "normal-1.jpeg").read_bytes()
    [image] = model_folder.description_of(copy).metrics["examples"]["images"]
    assert (image["seed"], image["look"], image["level"]) == (0, "Look.", "typical")
    assert "| `normal-1.jpeg` | NORMAL |" in (copy / "README.md").read_text()

    cutoffs = NoveltyCutoffs(unusual=0, foreign=0)
    model_folder.rewrite_description(copy, msgspec.structs.replace(model_folder.description_of(copy), novelty=cutoffs))
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=r"may not be shown: NORMAL 0: is foreign"):
        synthesise.run(copy, data, count=1, out=None, keep=keep)
    assert {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"out": None, "keep": None}, "needs either --out FOLDER"),
        ({"out": Path(), "keep": None}, r"--out \.: exists"),
        ({"out": None, "keep": Path("none.toml")}, r"--keep none\.toml: .*No such file"),
    ],
)
def test_what_cannot_be_done_is_said_before_an_image_is_read(
    model: Path, folder: Path, given: dict[str, Path | None], reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        synthesise.run(model, data_at(folder), count=1, **given)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("example = []", r"keep\.toml: .*length >= 1"),
        ('[[example]]\nlabel = "TB"\nseed = 0\nlook = ""', "«TB» is not a label of the model; those are NORMAL, PNEUMONIA"),
    ],
)
def test_a_wrong_choice_is_named_before_an_image_is_read(model: Path, tmp_path: Path, text: str, reason: str) -> None:
    (tmp_path / "keep.toml").write_text(text)
    with pytest.raises(ConfigError, match=reason):
        synthesise.run(model, data_at(tmp_path / "none"), count=1, out=None, keep=tmp_path / "keep.toml")


def test_a_recalibrated_model_without_a_full_card_gets_no_examples(model: Path, tmp_path: Path) -> None:
    copy, keep = shutil.copytree(model, tmp_path / "model"), tmp_path / "keep.toml"
    description = model_folder.description_of(copy)
    metrics = {name: value for name, value in description.metrics.items() if name != "test"}
    model_folder.rewrite_description(copy, msgspec.structs.replace(description, metrics=metrics))
    with pytest.raises(ConfigError, match="has no full card"):
        synthesise.run(copy, data_at(tmp_path / "none"), count=1, out=None, keep=keep)


def test_only_images_that_the_model_has_seen_are_drawn_from(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has seen none of these images \(seen\.txt\)"):
        synthesise.run(DEFAULT_MODEL, data_at(folder), count=1, out=tmp_path / "none", keep=None)
