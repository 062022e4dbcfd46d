"""The shipped model on real X-rays, if they lie beside the project. The test split is not read here."""

from pathlib import Path
from typing import Any, TypeAlias

import httpx
import numpy as np
import numpy.typing as npt
import onnxruntime
import pytest
from PIL import Image
from sklearn.metrics import roc_auc_score

from service import machine
from service.model.artefact import Description
from service.model.classifier import Outputs
from tests.conftest import DEFAULT_MODEL, ROOT
from training import config
from training.data import layouts, manifest, splits
from training.data.manifest import Record
from training.graph import gate, model_folder
from training.stages import audit

CHEST_XRAY = ROOT.parent / "shared/data/chest_xray"

Classified: TypeAlias = tuple[str, npt.NDArray[np.bool_], dict[str, Outputs]]

pytestmark = pytest.mark.skipif(not CHEST_XRAY.is_dir(), reason="no real X-rays beside the project")


@pytest.fixture(scope="module")
def records() -> list[Record]:
    """With the splits of `models/default`."""
    choices = config.load_config(config.PRESETS / "best.toml")
    return splits.split(layouts.scan(CHEST_XRAY), choices.data, choices.seed)


@pytest.fixture(scope="module")
def description() -> Description:
    return model_folder.load(DEFAULT_MODEL).artefact.description


def test_the_splits_are_those_of_the_card(records: list[Record], description: Description) -> None:
    assert audit.summarise(records)["splits"] == description.data["splits"]


@pytest.fixture(scope="module", params=["val", "shifted"])
def classified(request: pytest.FixtureRequest, records: list[Record]) -> Classified:
    """The split, whether each of its images is positive, and what each variant says of it."""
    images = manifest.of_split(records, request.param)
    outputs = {
        name: model_folder.classify(model_folder.load(DEFAULT_MODEL, name), CHEST_XRAY, images) for name in ("fp32", "int8")
    }
    return request.param, np.array([record.label == "PNEUMONIA" for record in images]), outputs


def test_the_model_does_on_validation_what_its_card_says(description: Description, classified: Classified) -> None:
    split, truth, outputs = classified
    auroc = roc_auc_score(truth, outputs["fp32"].probabilities[:, 1])
    assert auroc == pytest.approx(description.metrics[split]["auroc"]["value"], abs=0.001)


@pytest.mark.skipif(not machine.int8_instructions(), reason="this CPU cannot multiply int8 exactly, and serves fp32")
def test_the_int8_variant_passes_its_gate_again(description: Description, classified: Classified) -> None:
    split, truth, outputs = classified
    figures = gate.compare(truth, outputs["fp32"], outputs["int8"], positive=1)
    assert gate.passed(figures)
    assert figures == pytest.approx(description.variants["int8"].gate[split], abs=0.003)  # CPUs round differently


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
