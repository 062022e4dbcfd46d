"""The shipped model on real X-rays, where they lie beside the project. The test fold is not read here."""

from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from service.model.artefact import Description
from tests.conftest import DEFAULT_MODEL, ROOT
from training import config
from training.data import layouts, manifest, splits
from training.data.manifest import Record
from training.graph import inference, int8_gate, model_folder
from training.stages import audit

CHEST_XRAY = ROOT.parent / "shared/data/chest_xray"

pytestmark = pytest.mark.skipif(not CHEST_XRAY.is_dir(), reason="no real X-rays beside the project")


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """Split as `models/default` was."""
    choices = config.load_config(config.PRESETS / "best.toml")
    return splits.split(layouts.scan(CHEST_XRAY), choices.data, choices.seed)


@pytest.fixture(scope="module")
def description() -> Description:
    return model_folder.load(DEFAULT_MODEL).artefact.description


def test_the_splits_of_the_card_come_out_again(records: list[Record], description: Description) -> None:
    assert audit.summarise(records)["splits"] == description.data["splits"]


@pytest.mark.parametrize("split", ["val", "shifted"])
def test_the_model_does_on_validation_what_its_card_says(records: list[Record], description: Description, split: str) -> None:
    images = manifest.of_split(records, split)
    probability = inference.classify(model_folder.load(DEFAULT_MODEL), CHEST_XRAY, images).probabilities[:, 1]
    truth = [record.label == description.positive for record in images]
    assert roc_auc_score(truth, probability) == pytest.approx(description.metrics[split]["auroc"]["value"], abs=0.001)


@pytest.mark.parametrize("split", ["val", "shifted"])
def test_the_int8_variant_passes_its_gate_again(records: list[Record], description: Description, split: str) -> None:
    figures = int8_gate.against_fp32(DEFAULT_MODEL, CHEST_XRAY, manifest.of_split(records, split))
    assert int8_gate.passes(figures)
    assert figures == pytest.approx(description.variants["int8"].gate[split], abs=0.003)  # CPUs differ


def test_form_raw_bytes_and_the_graph_alone_give_the_same(client: httpx.Client) -> None:
    paths = [next(iter(sorted((CHEST_XRAY / "train" / label).iterdir()))) for label in ("NORMAL", "PNEUMONIA")]
    served = client.get("/model-info").json()
    session = onnxruntime.InferenceSession(DEFAULT_MODEL / served["variants"][served["running"]["variant"]]["file"])
    alone = session.run(None, {"images": [np.asarray(Image.open(path).convert("L")) for path in paths]})[0]
    for path, expected in zip(paths, alone, strict=True):
        form, raw = predictions(client, path)
        assert form["label"] == raw["label"] == path.parent.name
        assert form["probabilities"] == raw["probabilities"]
        assert np.abs(expected - list(form["probabilities"].values())).max() < 1e-6


def predictions(client: httpx.Client, path: Path) -> list[dict[str, Any]]:  # Any: JSON
    content = path.read_bytes()
    answers = [client.post("/predict", files={"image": content}), client.post("/predict", content=content)]
    return [answer.raise_for_status().json() for answer in answers]
