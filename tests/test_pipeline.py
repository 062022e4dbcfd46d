"""Whole runs on phantoms: fit, export, quantise, calibrate, evaluate, write the card; then serve, recalibrate, compare."""

import contextlib
import csv
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from tests.conftest import ROOT, running_service
from tests.documents import TRAINING, block
from tests.training import test_main
from training.config_files import PRESETS
from training.data import alterations, manifest, phantoms, splits
from training.graph import inference, model_folder
from training.report import metrics as report_metrics
from training.stages import evaluate

CONFIG = (PRESETS / "phantom.toml").read_text().replace("= 96", "= 64").replace("epochs = 4", "epochs = 3\nworkers = 0")


def training(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}  # more would not speed up so small a network
    return subprocess.Popen(
        [sys.executable, "-m", "training", *arguments], cwd=folder, env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def finished(process: "subprocess.Popen[str]", code: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == code, output
    return output


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with phantoms in `data`, a run in `runs/1`, and its model in `model`."""
    folder = tmp_path_factory.mktemp("whole-way")
    phantoms.write_data_set(folder / "data", 240, seed=1)
    for path in sorted(folder.glob("data/train/*/*"))[::6]:  # an official test split; some of its patients are in train, too
        (folder / "data/test" / path.parent.name).mkdir(parents=True, exist_ok=True)
        path.rename(folder / "data/test" / path.parent.name / path.name)
    phantoms.write_data_set(folder / "north", 60, seed=6)
    paths = [path.relative_to(folder / "north/train").as_posix() for path in sorted((folder / "north/train").glob("*/*"))]
    lines = ["file,patient_id", *(f"{path},{number // 2}" for number, path in enumerate(paths))]
    (folder / "north/train/labels.csv").write_text("\n".join(lines))
    (folder / "run.toml").write_text(CONFIG)
    options = ("--config", "run.toml", "--elsewhere", "North=north/train", "--out", "model")
    finished(training(folder, "train", "--data", "data", *options))
    return folder


def run(folder: Path, *arguments: str, code: int = 0) -> str:
    with contextlib.chdir(folder):
        ended, output, errors = test_main.run(*arguments)
    assert ended == code, errors
    return output + errors


def description_of(model: Path) -> dict[str, Any]:  # Any: JSON
    return dict(json.loads((model / "model.json").read_text()))


def test_the_model_has_learned_and_its_folder_holds_what_its_sums_and_variants_name(trained: Path) -> None:
    description = description_of(trained / "model")
    assert all(description["metrics"][split]["auroc"]["value"] > 0.8 for split in ("test", "shifted"))
    variants = description["variants"].values()  # int8 is among them if it passed its gate
    names = ["README.md", "SHA256SUMS", "model.json", "report", "seen.txt", *(variant["file"] for variant in variants)]
    assert sorted(path.name for path in (trained / "model").iterdir()) == sorted(names)
    for line in (trained / "model/SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((trained / "model" / name).read_bytes()).hexdigest() == digest
    for text in ("README.md", "report/index.html"):
        content = (trained / "model" / text).read_text()
        assert "phantom" in content
        assert "Not a medical" in content


def test_a_run_keeps_its_configuration_and_the_results_of_its_stages(trained: Path) -> None:
    run = trained / "runs/1"
    files = {"config.json", "environment.json", "manifest.csv", "audit.json", "test.json", "errors.html", "seed-0"}
    assert {path.name for path in run.iterdir()} >= files
    of_seed = {"history.csv", "curves.png", "best.safetensors", "last.safetensors", "resume.pt"}
    assert {path.name for path in (run / "seed-0").iterdir()} == of_seed
    stages = [json.loads(line)["stage"] for line in (run / "stages.jsonl").read_text().splitlines()]
    assert stages == ["audit", "fit", "export", "quantise", "calibrate", "evaluate", "card"]
    assert json.loads((run / "config.json").read_text())["fit"]["weight_decay"] == 0.01  # a default


def test_the_description_has_all_figures(trained: Path) -> None:
    metrics = description_of(trained / "model")["metrics"]
    assert [len(rows) for rows in metrics["fit"]["histories"]] == [4]
    assert metrics["anatomy"]["filters"]["shape"] == [24, 3, 3]
    odd = {name: row["images"] for name, row in metrics["odd"].items()}
    assert odd == {"drawn document": 50, "noise": 96, "photograph": 80}
    assert metrics["robustness"]["as they are"]["mean_change"] < 1e-6 < metrics["robustness"]["dark (gamma 1.5)"]["mean_change"]
    assert sum(group["images"] for group in metrics["subgroups"].values()) == metrics["test"]["images"] == 40
    assert metrics["calibration"]["before"]["nll"] > 0
    assert metrics["uncalibrated"]["temperature"] == 1  # what «before» means, also when it is quantised and calibrated again
    assert metrics["heatmaps"]["randomised"]["all"] < 0.9
    assert 0 < metrics["strict_test"]["images"] < 40


def test_images_compressed_as_the_other_label_are_measured_where_the_labels_differ(trained: Path) -> None:
    metrics, data = description_of(trained / "model")["metrics"], trained / "data"
    assert metrics["shortcuts"]["recompressed"] is None  # all phantoms are compressed alike
    records = manifest.of_split(manifest.read_manifest(trained / "runs/1" / manifest.MANIFEST), splits.VAL)
    truth = np.array([record.label == "PNEUMONIA" for record in records])
    classifier = model_folder.load(trained / "model")
    found = evaluate.recompressed(classifier, data, records, truth, np.where(truth, 1858.0, 330.0))
    qualities = {"NORMAL": 75, "PNEUMONIA": 95}
    greys = [alterations.jpeg(manifest.read_image(data, record), qualities[record.label]) for record in records]
    probability = inference.classify_images(classifier, greys).probabilities[:, 1].astype(np.float64)
    assert found == {"qualities": [75, 95], **report_metrics.at_half(truth, probability)}


def test_both_validations_altered_as_in_training_and_otherwise_stand_on_the_card(trained: Path) -> None:
    altered = description_of(trained / "model")["metrics"]["altered"]
    assert altered.keys() == {"as in training", "otherwise"}
    card = (trained / "model/README.md").read_text()
    for row in altered.values():
        assert row["auroc"] > 0.6
        assert f"{row['ece']:.4f}" in card


def test_a_run_does_not_continue_with_other_data(trained: Path) -> None:
    shutil.copytree(trained / "data/train", trained / "fewer/train")
    shutil.copytree(trained / "runs/1", trained / "other")
    output = run(trained, "train", "--resume", "other", "--from", "audit", "--data", "fewer", code=1)
    assert "fewer: the images are not those that other began with; start a new run" in output


def test_the_model_serves(trained: Path) -> None:
    path = next((trained / "data/train/PNEUMONIA").iterdir())
    with running_service(model=trained / "model") as client:
        answer = client.post("/predict", files={"image": path.read_bytes()}).raise_for_status().json()
        file = client.get("/model-info").json()["variants"][answer["model"]["variant"]]["file"]
    session = onnxruntime.InferenceSession(trained / "model" / file)
    expected = session.run(None, {"images": [np.asarray(Image.open(path).convert("L"))]})[0][0]
    assert np.abs(np.array(list(answer["probabilities"].values())) - expected).max() < 1e-6
    assert answer["model"]["name"] == "phantom"


def test_the_test_split_is_read_once_for_a_model(trained: Path) -> None:
    before = description_of(trained / "runs/1/model")
    readings = (trained / "runs/1/test.json").read_text()
    run(trained, "calibrate", "--run", "runs/1")  # the same again, which drops the measurements
    output = run(trained, "evaluate", "--run", "runs/1")
    assert "read the images of «test» before" in output and "read the images of «North» before" in output
    assert description_of(trained / "runs/1/model") == before
    assert (trained / "runs/1/test.json").read_text() == readings
    assert [reading["variant"] for reading in json.loads(readings)] in (["fp32"] * 2, ["fp32", "fp32", "int8"])


def test_another_hospital_recalibrates_and_compares(trained: Path) -> None:
    phantoms.write_data_set(trained / "elsewhere", 60, seed=5)
    elsewhere = trained / "elsewhere/train"
    output = run(trained, "recalibrate", "model", "--data", str(elsewhere), "--out", "ours")
    assert "on 60 images" in output
    before, after = (description_of(trained / name) for name in ("model", "ours"))
    choice = after["metrics"]["calibration"]["choice"]  # the phantoms are those of another seed: it may have nothing to mend
    assert choice["taken"] == (choice["after"] <= choice["before"])
    temperatures = {model["variants"]["fp32"]["temperature"] for model in (before, after)}
    assert len(temperatures) == 1 + choice["taken"]
    assert after["metrics"]["fit"] == before["metrics"]["fit"]
    assert "test" not in after["metrics"]  # figures of the other calibration
    assert after["metrics"]["calibration"]["before"] != before["metrics"]["calibration"]["before"]  # other images
    card, few = (trained / "ours/README.md").read_text(), "30 images of PNEUMONIA are too few to show 0.97"
    assert "30 NORMAL, 30 PNEUMONIA" in card and f"Warning: {few}" in card and f"warning: {few}" in output
    assert ("stayed too" in card) == ("It was not taken" in card) == (not choice["taken"])

    output = run(trained, "compare", "model", "ours", "--data", str(elsewhere))
    assert re.search(r"auroc +0\.\d{4} +0\.\d{4}   \+0\.0000", output)  # calibration keeps the order
    assert re.search(r"evidence on the border +(\d\.\d{4}) +\1   [+-]0\.0000", output)  # and the places of the evidence

    assert "WARNING: ours was fitted or calibrated on 60 of these 60 images" in output


def test_images_of_another_hospital_are_measured_once_and_stand_on_the_card(trained: Path) -> None:
    readings = json.loads((trained / "runs/1/test.json").read_text())
    assert [reading["images"] for reading in readings if reading["data"] == "North"] == [60]
    figures = description_of(trained / "model")["metrics"]["elsewhere"]["North"]
    assert figures["all"]["images"] == {"negative": 30, "positive": 30}
    assert sum(figures["typical"]["images"].values()) == 60 - figures["all"]["unusual"]
    low, high = figures["all"]["auroc"]["interval"]
    assert low <= figures["all"]["auroc"]["value"] <= high
    assert "| North | all | 30 / 30 |" in (trained / "model/README.md").read_text()
    assert "expected NAME=FOLDER" in run(trained, "evaluate", "--run", "runs/1", "--elsewhere", "North", code=1)


def test_an_afternoon_goes_as_the_readme_says(trained: Path) -> None:
    """All but make: test_readme.py has `make train`, and the model serves above."""
    places = {"path/to/chest_xray": "data", "path/to/labelled": "another/train", "--config fast": "--config run.toml"}
    phantoms.write_data_set(trained / "another", 60, seed=7)
    shutil.copytree(trained / "model", trained / "models/mine")
    printed = ""
    for line in block(TRAINING, "sh", "models/theirs").splitlines():
        for name, place in places.items():
            line = line.replace(name, place)
        if "make " not in line:
            command = line.replace(".venv/bin/python", shlex.quote(sys.executable))
            environment = os.environ | {"PYTHONPATH": str(ROOT)}
            done = subprocess.run(
                command, shell=True, cwd=trained, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, done.stderr
            printed += done.stdout
    assert all(words in printed for words in ("minutes in all", "nothing was written", "AUROC", "temperature"))
    assert printed.count("IM-") >= 30  # a line for each of the images that are predicted
    assert description_of(trained / "models/theirs")["metrics"]["calibration"]["images"] == 60


def assert_same_fit(one: Path, other: Path) -> None:
    seeds = sorted(path.name for path in other.glob("seed-*"))
    assert [history(one / seed) for seed in seeds] == [history(other / seed) for seed in seeds]
    for file in ("best.safetensors", *(f"{seed}/{name}.safetensors" for seed in seeds for name in ("best", "last"))):
        assert (one / file).read_bytes() == (other / file).read_bytes(), file


def history(seed: Path) -> list[list[str]]:
    with (seed / "history.csv").open() as file:
        return [[value for name, value in row.items() if name != "seconds"] for row in csv.DictReader(file)]
