"""The shipped model on real X-rays, where they lie beside the project. The test fold is not read here."""

import httpx
import numpy as np
import onnxruntime
import pytest
from msgspec.structs import asdict
from PIL import Image
from sklearn.metrics import roc_auc_score

from service.model.artefact import Description
from tests.conftest import DEFAULT_MODEL, ROOT
from training import config, config_files
from training.data import manifest, scan, splits
from training.data.manifest import Record
from training.graph import inference, model_folder
from training.report import int8_gate, zone
from training.stages import audit

CHEST_XRAY = ROOT.parent / "shared/data/chest_xray"

pytestmark = pytest.mark.skipif(not CHEST_XRAY.is_dir(), reason="no real X-rays beside the project")


@pytest.fixture(scope="module")
def records() -> list[Record]:
    choices = config_files.load(config_files.PRESETS / "best.toml")
    return splits.split(scan.scan(config.data_at(CHEST_XRAY, choices.data)).records, choices.data, choices.seed)


@pytest.fixture(scope="module")
def description() -> Description:
    return model_folder.load(DEFAULT_MODEL).artefact.description


def test_the_splits_of_the_card_come_out_again(records: list[Record], description: Description) -> None:
    assert audit.summarise(records)["splits"] == description.data["splits"]


@pytest.mark.parametrize("split", ["val", "shifted"])
def test_both_variants_do_on_validation_what_the_card_says(records: list[Record], description: Description, split: str) -> None:
    images = manifest.of_split(records, split)
    truth = np.array([record.label == description.positive for record in images])
    fp32, int8 = (inference.classify(model_folder.load(DEFAULT_MODEL, name), CHEST_XRAY, images) for name in ("fp32", "int8"))
    if split == "shifted":  # with as many images, the zone is as near to 0.5 as they allow
        thresholds, _ = zone.find(truth, fp32.probabilities[:, 1].astype(np.float64), description.metrics["zone"]["target"])
        assert asdict(thresholds) == pytest.approx(asdict(description.thresholds), abs=0.003)
    auroc = roc_auc_score(truth, fp32.probabilities[:, 1])
    assert auroc == pytest.approx(description.metrics[split]["auroc"]["value"], abs=0.001)
    figures = int8_gate.compare(truth, fp32, int8, 1, [record.patient for record in images])
    assert int8_gate.missed(figures) == []
    of_card = description.variants["int8"].gate[split]
    assert {name: figures[name] for name in of_card} == pytest.approx(of_card, abs=0.003)  # CPUs differ


def test_form_raw_bytes_and_the_graph_alone_give_the_same(client: httpx.Client) -> None:
    served = client.get("/model-info").json()
    session = onnxruntime.InferenceSession(DEFAULT_MODEL / served["variants"][served["running"]["variant"]]["file"])
    for path in [next(iter(sorted((CHEST_XRAY / "train" / label).iterdir()))) for label in ("NORMAL", "PNEUMONIA")]:
        content = path.read_bytes()
        answers = client.post("/predict", files={"image": content}), client.post("/predict", content=content)
        form, raw = (answer.raise_for_status().json() for answer in answers)
        assert form["label"] == raw["label"] == path.parent.name
        assert form["probabilities"] == raw["probabilities"]
        alone = session.run(None, {"images": [np.asarray(Image.open(path).convert("L"))]})[0][0]
        assert np.abs(alone - list(form["probabilities"].values())).max() < 1e-6
