"""The examples of models/default: small files of no one, which the service answers by their label, as the card says."""

import hashlib
from collections import Counter
from pathlib import Path

import httpx
import pytest

from service.model.artefact import read_description
from tests.conftest import DEFAULT_MODEL, ROOT
from training.graph import model_folder
from training.tools import synthesise

DESCRIPTION = read_description(DEFAULT_MODEL)
FOUND = DESCRIPTION.metrics["examples"]
IMAGES = {image["file"]: image for image in FOUND["images"]}
FILES = sorted((DEFAULT_MODEL / model_folder.EXAMPLES).iterdir())


def test_there_are_three_of_each_label_and_the_model_is_less_sure_of_one() -> None:
    assert [path.name for path in FILES] == sorted(IMAGES)
    assert Counter(image["label"] for image in IMAGES.values()) == {"NORMAL": 3, "PNEUMONIA": 3}
    assert sum(0.1 < image["probability"] < 0.9 for image in IMAGES.values()) == 1
    chosen = synthesise.read_choices(ROOT / "training/examples.toml")
    assert [(choice.label, choice.seed, choice.look) for choice in chosen] == [
        (image["label"], image["seed"], image["look"]) for image in FOUND["images"]
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name)
def test_an_example_is_small_typical_and_called_by_its_label(client: httpx.Client, file: Path) -> None:
    content, expected = file.read_bytes(), IMAGES[file.name]
    assert len(content) <= 20_000
    assert hashlib.sha256(content).hexdigest() == expected["sha256"], "the figures are of another picture"
    answer = client.post("/predict", content=content).raise_for_status().json()
    assert answer["novelty"]["level"] == "typical" and answer["warnings"] == []
    assert answer["uncertain"] == expected["uncertain"]
    assert answer["uncertain"] or answer["label"] == expected["label"]
    assert answer["probabilities"][DESCRIPTION.positive] == pytest.approx(expected["probability"], abs=0.05)


@pytest.mark.parametrize("image", IMAGES.values(), ids=IMAGES)
def test_an_example_is_farther_from_everybody_than_people_are_from_each_other(image: dict[str, float]) -> None:
    real = FOUND["real"][image["label"]]
    assert image["correlation"] < real["correlation"] and image["distance"] > real["distance"]
    assert image["share"] < 0.2
