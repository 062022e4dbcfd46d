"""A whole run on names and labels that are not Kermany's; interrupted or killed, it ends with the same bits."""

import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import running_service
from tests.test_pipeline import assert_same_run, description_of, finished, history, run, training
from training.data import phantoms

CONFIG = """
name = "foreign"
data = {positive = "opaque", folds = 3, shifted_fraction = 0.3}
backbone = {name = "mobilenet_v2", weights = "none", image_size = 64}
fit = {seeds = 2, epochs = 2, batch_size = 16, workers = 0}
"""


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on a small data set whose names tell no patient, with other labels: in `runs/1`, its model in `model`."""
    folder = tmp_path_factory.mktemp("foreign")
    rng = np.random.default_rng(0)
    for index in range(60):
        path = folder / "data/train" / ("clear", "opaque")[index % 2] / f"study {index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(phantoms.draw(rng, sick=index % 2 == 1)).save(path)
    (folder / "run.toml").write_text(CONFIG)
    finished(training(folder, "train", "--data", "data", "--config", "run.toml", "--out", "model"))
    return folder


def test_a_run_on_other_names_and_labels_ends_with_a_model_that_serves(foreign: Path) -> None:
    description = description_of(foreign / "model")
    assert (description["labels"], description["positive"]) == (["clear", "opaque"], "opaque")
    assert description["data"]["without_patient"] == 60
    assert [len(rows) for rows in description["metrics"]["fit"]["histories"]] == [3, 3]
    with running_service(model=foreign / "model") as client:
        image = (foreign / "data/train/opaque/study 1.png").read_bytes()
        answer = client.post("/predict", content=image).raise_for_status().json()
    assert set(answer["probabilities"]) == {"clear", "opaque"}


def test_a_run_that_is_interrupted_and_killed_ends_like_one_that_was_not(foreign: Path) -> None:
    process = training(foreign, "train", "--data", "data", "--config", "run.toml", "--run", "stopped", "--out", "resumed")
    wait_for_epoch(1, foreign / "stopped/seed-0")
    os.killpg(process.pid, signal.SIGINT)
    output = finished(process, code=130)
    assert "Traceback" not in output
    command = re.search(r"to go on: \S+ -m training (.*)", output)
    assert command
    assert command[1] == "train --resume stopped --out resumed"

    process = training(foreign, *command[1].split())
    wait_for_epoch(2, foreign / "stopped/seed-0")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    finished(training(foreign, *command[1].split()))

    assert_same_run(foreign / "stopped", foreign / "runs/1")
    assert (foreign / "resumed/model.onnx").exists()


def test_a_resumed_fit_does_not_keep_weights_of_an_epoch_that_was_not_finished(foreign: Path) -> None:
    shutil.copytree(foreign / "runs/1", foreign / "killed")
    shutil.copy(foreign / "killed/head.safetensors", foreign / "killed/seed-0/last.safetensors")  # as a kill may leave others
    run(foreign, "fit", "--run", "killed", "--seed", "0")
    for file in ("seed-0/last.safetensors", "seed-0/best.safetensors"):
        assert (foreign / "killed" / file).read_bytes() == (foreign / "runs/1" / file).read_bytes()


def wait_for_epoch(epoch: int, seed: Path) -> None:
    end = time.monotonic() + 120
    while not (seed / "resume.pt").exists() or len(history(seed)) <= epoch:
        assert time.monotonic() < end
        time.sleep(0.01)
