"""The whole way, on phantoms: fit, export, calibrate, evaluate, serve over a real socket, predict."""

import csv
import hashlib
import json
import os
import re
import shutil
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
from training.data import phantoms

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
seeds = 2
epochs = 3
batch_size = 16
learning_rate = 1e-3
lowest_layer_rate = 1.0
ema_decay = 0.7
workers = 0
"""


def training(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # so small a network has no work for more
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
    phantoms.write_data_set(folder / "data", 240, seed=1)
    for path in sorted(folder.glob("data/train/*/*"))[::6]:  # an official test split, of patients who stand in train, too
        (folder / "data/test" / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(folder / "data/test" / path.parent.name / path.name)
    (folder / "run.toml").write_text(CONFIG)
    finished(training(folder, "train", "--data", "data", "--config", "run.toml", "--out", "model"))
    return folder


def test_the_model_has_learned(folder: Path) -> None:
    metrics = json.loads((folder / "model/model.json").read_text())["metrics"]
    assert metrics["test"]["auroc"]["value"] > 0.8
    assert metrics["val"]["auroc"]["value"] > 0.8


def test_the_folder_holds_what_was_promised_and_vouches_for_it(folder: Path) -> None:
    variants = json.loads((folder / "model/model.json").read_text())["variants"]  # int8 is there if it passed its gate
    names = sorted(["README.md", "SHA256SUMS", "model.json", "report", *(variant["file"] for variant in variants.values())])
    assert sorted(path.name for path in (folder / "model").iterdir()) == names
    for line in (folder / "model/SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((folder / "model" / name).read_bytes()).hexdigest() == digest
    for text in ("README.md", "report/index.html"):
        content = (folder / "model" / text).read_text()
        assert "whole-way" in content
        assert "Not a medical" in content


def test_a_run_keeps_what_it_was_made_of(folder: Path) -> None:
    run = folder / "runs/1"
    names = {path.name for path in run.iterdir()}
    assert names >= {
        "config.json",
        "environment.json",
        "manifest.csv",
        "audit.json",
        "predictions.csv",
        "errors.html",
        "seed-1",
    }
    assert {path.name for path in (run / "seed-0").iterdir()} == {
        "history.csv", "curves.png", "best.safetensors", "last.safetensors", "resume.pt",
    }  # fmt: skip
    stages = [json.loads(line)["stage"] for line in (run / "stages.jsonl").read_text().splitlines()]
    assert stages == ["audit", "fit", "export", "quantise", "calibrate", "evaluate", "card"]
    assert json.loads((run / "config.json").read_text())["fit"]["weight_decay"] == 0.01  # a default


def test_what_the_model_knows_of_itself_is_all_there(folder: Path) -> None:
    metrics = json.loads((folder / "model/model.json").read_text())["metrics"]
    assert [len(rows) for rows in metrics["fit"]["histories"]] == [4, 4]
    assert metrics["anatomy"]["filters"]["shape"] == [64, 7, 7]
    assert {name: row["images"] for name, row in metrics["odd"].items() if name in ("noise", "photograph")} == {
        "noise": 96, "photograph": 80,
    }  # fmt: skip
    assert metrics["robustness"]["as they are"]["mean_change"] < 1e-6
    assert metrics["robustness"]["dark (gamma 1.5)"]["mean_change"] > 0
    assert sum(group["images"] for group in metrics["subgroups"].values()) == metrics["test"]["images"]
    assert metrics["calibration"]["before"]["nll"] > 0
    assert metrics["heatmaps"]["randomised"]["all"] < 0.9
    assert metrics["test"]["images"] == 40
    assert 0 < metrics["strict_test"]["images"] < 40


def test_a_run_does_not_go_on_with_other_data(folder: Path) -> None:
    shutil.copytree(folder / "data/train", folder / "fewer/train")
    shutil.copytree(folder / "runs/1", folder / "other")
    process = training(folder, "train", "--resume", "other", "--from", "audit", "--data", "fewer")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "fewer: the images are not those that other began with; start a new run" in output


def test_the_model_serves(folder: Path) -> None:
    path = next((folder / "data/train/PNEUMONIA").iterdir())
    with running_service(model=folder / "model") as client:
        answer = client.post("/predict", files={"image": path.read_bytes()}).raise_for_status().json()
        file = client.get("/model-info").json()["variants"][answer["model"]["variant"]]["file"]
    session = onnxruntime.InferenceSession(folder / "model" / file)
    expected = session.run(None, {"images": [np.asarray(Image.open(path).convert("L"))]})[0][0]
    assert np.abs(np.array(list(answer["probabilities"].values())) - expected).max() < 1e-6
    assert answer["model"]["name"] == "whole-way"


def test_the_test_fold_is_read_once_for_a_model(folder: Path) -> None:
    before = json.loads((folder / "runs/1/model/model.json").read_text())
    readings = (folder / "runs/1/test_reads.jsonl").read_text()
    finished(training(folder, "calibrate", "--run", "runs/1"))  # the same again, which drops what was measured
    assert "read its test fold before" in finished(training(folder, "evaluate", "--run", "runs/1"))
    assert json.loads((folder / "runs/1/model/model.json").read_text()) == before
    assert (folder / "runs/1/test_reads.jsonl").read_text() == readings
    assert [json.loads(line)["variant"] for line in readings.splitlines()] in (["fp32"], ["fp32", "int8"])


def test_stopped_and_killed_and_gone_on_with_it_ends_as_if_it_had_not_been(folder: Path) -> None:
    process = training(folder, "train", "--data", "data", "--config", "run.toml", "--run", "stopped", "--out", "resumed")
    wait_for_epoch(1, folder / "stopped/seed-0")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Traceback" not in output
    command = re.search(r"to go on: \S+ -m training (.*)", output)
    assert command
    assert command[1] == "train --resume stopped --out resumed"

    process = training(folder, *command[1].split())
    wait_for_epoch(2, folder / "stopped/seed-0")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    finished(training(folder, *command[1].split()))

    assert_same_run(folder / "stopped", folder / "runs/1")
    assert (folder / "resumed/model.onnx").exists()


def test_another_hospital_recalibrates_compares_and_asks(folder: Path) -> None:
    phantoms.write_data_set(folder / "elsewhere", 60, seed=5)
    elsewhere = folder / "elsewhere/train"
    output = finished(training(folder, "recalibrate", "model", "--data", str(elsewhere), "--out", "ours"))
    assert "on 60 images" in output
    before, after = (json.loads((folder / name / "model.json").read_text()) for name in ("model", "ours"))
    assert after["variants"]["fp32"]["temperature"] != before["variants"]["fp32"]["temperature"]
    assert after["metrics"]["fit"] == before["metrics"]["fit"]
    assert "test" not in after["metrics"]  # what was measured of the other calibration
    assert after["metrics"]["calibration"]["before"] != before["metrics"]["calibration"]["before"]  # other images
    assert "30 NORMAL, 30 PNEUMONIA" in (folder / "ours/README.md").read_text()

    output = finished(training(folder, "compare", "model", "ours", "--data", str(elsewhere)))
    assert re.search(r"auroc +0\.\d{4} +0\.\d{4}   \+0\.0000", output)  # calibration keeps the order

    paths = [str(path) for path in sorted(elsewhere.glob("*/*"))[:3]]
    output = finished(training(folder, "predict", "ours", "--csv", *paths))
    assert [row["image"] for row in csv.DictReader(output.splitlines())] == paths


def assert_same_run(one: Path, other: Path) -> None:
    for seed in ("seed-0", "seed-1"):
        assert history(one / seed) == history(other / seed)
    for file in ("seed-0/last.safetensors", "seed-1/last.safetensors", "best.safetensors", "model/model.onnx"):
        assert (one / file).read_bytes() == (other / file).read_bytes()


def history(run: Path) -> list[list[str]]:
    """Without the seconds, which nobody can repeat."""
    with (run / "history.csv").open() as file:
        return [[value for name, value in row.items() if name != "seconds"] for row in csv.DictReader(file)]


def wait_for_epoch(epoch: int, run: Path) -> None:
    end = time.monotonic() + 120
    while not (run / "resume.pt").exists() or len(history(run)) <= epoch:
        assert time.monotonic() < end
        time.sleep(0.01)
