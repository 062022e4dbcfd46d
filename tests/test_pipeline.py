"""The whole way, on phantoms: fit, export, calibrate, evaluate, serve over a real socket, predict."""

import csv
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from tests.conftest import ROOT, running_service
from training import phantom

CONFIG = """
name = "whole-way"
[data]
folds = 4
shifted_fraction = 0.2
[backbone]
name = "resnet18"
weights = "none"
image_size = 64
[augment]
crop_area = [0.7, 1.0]
[fit]
epochs = 4
batch_size = 16
learning_rate = 1e-3
lowest_layer_rate = 1.0
ema_decay = 0.7
workers = 0
"""


def training(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "training", *arguments]
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def finished(process: "subprocess.Popen[str]") -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With phantoms, a configuration, a run in `runs/1`, and its model in `model`."""
    folder = tmp_path_factory.mktemp("whole-way")
    phantom.write_data_set(folder / "data", 240, seed=1)
    (folder / "run.toml").write_text(CONFIG)
    finished(training(folder, "train", "--data", "data", "--config", "run.toml", "--out", "model"))
    return folder


def test_the_model_has_learned(folder: Path) -> None:
    metrics = json.loads((folder / "model/model.json").read_text())["metrics"]
    assert metrics["test"]["auroc"]["value"] > 0.8
    assert metrics["val"]["auroc"]["value"] > 0.8


def test_the_folder_holds_what_was_promised_and_vouches_for_it(folder: Path) -> None:
    assert sorted(path.name for path in (folder / "model").iterdir()) == ["README.md", "SHA256SUMS", "model.json", "model.onnx"]
    for line in (folder / "model/SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((folder / "model" / name).read_bytes()).hexdigest() == digest
    card = (folder / "model/README.md").read_text()
    assert "whole-way" in card
    assert "Not a medical" in card


def test_the_model_serves(folder: Path) -> None:
    path = next((folder / "data/train/PNEUMONIA").iterdir())
    session = onnxruntime.InferenceSession(folder / "model/model.onnx")
    expected = session.run(None, {"images": [np.asarray(Image.open(path).convert("L"))]})[0][0]
    with running_service(model=folder / "model") as client:
        answer = client.post("/predict", files={"image": path.read_bytes()}).raise_for_status().json()
    assert np.abs(np.array(list(answer["probabilities"].values())) - expected).max() < 1e-6
    assert answer["model"]["name"] == "whole-way"


def test_the_test_fold_is_read_once_for_a_model(folder: Path) -> None:
    before = json.loads((folder / "runs/1/model/model.json").read_text())["metrics"]
    finished(training(folder, "calibrate", "--run", "runs/1"))  # the same again, which drops what was measured
    assert "read its test fold before" in finished(training(folder, "evaluate", "--run", "runs/1"))
    assert json.loads((folder / "runs/1/model/model.json").read_text())["metrics"] == before
    assert len((folder / "runs/1/test_reads.jsonl").read_text().splitlines()) == 1


def test_stopped_and_killed_and_gone_on_with_it_ends_as_if_it_had_not_been(folder: Path) -> None:
    process = training(folder, "train", "--data", "data", "--config", "run.toml", "--run", "stopped", "--out", "resumed")
    wait_for_epoch(1, folder / "stopped")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    command = re.search(r"to go on: \S+ -m training (.*) \(or, with its best epoch so far, --from export\)", output)
    assert command
    assert command[1] == "train --run stopped --from fit --out resumed"

    process = training(folder, *command[1].split())
    wait_for_epoch(2, folder / "stopped")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    finished(training(folder, *command[1].split()))

    for file in ("best.safetensors", "model/model.onnx"):
        assert (folder / "stopped" / file).read_bytes() == (folder / "runs/1" / file).read_bytes()
    assert history(folder / "stopped") == history(folder / "runs/1")
    assert (folder / "resumed/model.onnx").exists()


def history(run: Path) -> list[list[str]]:
    """Without the seconds, which nobody can repeat."""
    with (run / "history.csv").open() as file:
        return [[value for name, value in row.items() if name != "seconds"] for row in csv.DictReader(file)]


def wait_for_epoch(epoch: int, run: Path) -> None:
    end = time.monotonic() + 120
    while not (run / "resume.pt").exists() or len(history(run)) <= epoch:
        assert time.monotonic() < end
        time.sleep(0.01)
