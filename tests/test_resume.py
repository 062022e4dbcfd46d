"""A whole run on names and labels that are not Kermany's. It is interrupted and killed, and ends with the same bits."""

import contextlib
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace
from PIL import Image
from safetensors.torch import load_file

from tests.conftest import running_service
from tests.test_pipeline import assert_same_fit, description_of, finished, history, run, training
from training import config_files, pipeline, run_folder
from training.data import phantoms
from training.network import history as fit_history
from training.stages import fit

CONFIG = """
name = "foreign"
data = {folder = "data", positive = "opaque", folds = 3, shifted_fraction = 0.3}
backbone = {name = "tf_efficientnet_lite0", weights = "none", image_size = 64}
fit = {seeds = 2, epochs = 2, batch_size = 16, workers = 0, ignore = ["contrast"]}
"""
TURNED = ["seed 0, head turned", "seed 1, head turned"]


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small data set whose names tell no patient, with other labels. Its run `whole` has been fitted."""
    folder = tmp_path_factory.mktemp("foreign")
    rng = np.random.default_rng(0)
    for index in range(60):
        path = folder / "data/train" / ("clear", "opaque")[index % 2] / f"study {index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(phantoms.draw(rng, sick=index % 2 == 1)).save(path)
    (folder / "run.toml").write_text(CONFIG)
    with contextlib.chdir(folder):
        choices = config_files.load(Path("run.toml"))
        run_folder.create(choices, Path("whole"))
        for stage in ("audit", "fit"):
            pipeline.run_stage(choices, Path("whole"), stage)
    return folder


def test_the_best_seed_is_chosen_once_all_heads_and_nothing_else_were_turned(foreign: Path) -> None:
    networks = fit_history.read_networks(foreign / "whole")
    assert [*networks.figures] == ["seed 0", TURNED[0], "seed 1", TURNED[1]]
    assert networks.chosen == TURNED[networks.seed] == max(TURNED, key=lambda name: fit_history.score(networks.figures[name]))
    chosen, best = (load_file(foreign / "whole" / name / "best.safetensors") for name in (".", f"seed-{networks.seed}"))
    assert {name for name in best if not torch.equal(chosen[name], best[name])} == {"head.weight", "head.bias"}


def test_what_a_seed_had_before_its_head_was_turned_does_not_choose_it(foreign: Path) -> None:
    networks = fit_history.read_networks(foreign / "whole")
    shutil.copytree(foreign / "whole", foreign / "other")
    folder = fit_history.folder(foreign / "other", 1 - networks.seed)
    rows = [replace(row, shifted_auroc=1, unseen_auroc=1, matched_auroc=1) for row in fit_history.read(folder)]
    fit_history.write(rows, folder)
    with contextlib.chdir(foreign):
        assert fit.choose(config_files.load(Path("run.toml")), Path("other"))[1].chosen == networks.chosen


def test_a_run_that_is_interrupted_and_killed_ends_like_one_that_was_not(foreign: Path) -> None:
    process = training(foreign, "train", "--config", "run.toml", "--run", "stopped", "--out", "model")
    wait_for_epoch(1, foreign / "stopped/seed-0")
    os.killpg(process.pid, signal.SIGINT)
    output = finished(process, code=130)
    assert "Traceback" not in output
    command = re.search(r"to go on: \S+ -m training (.*)", output)
    assert command
    assert command[1] == "train --resume stopped --out model"
    process = training(foreign, *command[1].split())
    wait_for_epoch(2, foreign / "stopped/seed-0")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    run(foreign, *command[1].split())
    assert_same_fit(foreign / "stopped", foreign / "whole")

    description = description_of(foreign / "model")
    assert (description["labels"], description["positive"]) == (["clear", "opaque"], "opaque")
    assert description["data"]["without_patient"] == 60
    report = (foreign / "model/report/index.html").read_text(encoding="utf-8")
    assert all(words in report for words in (*TURNED, "judged by the same mean once its head was turned"))
    with running_service(model=foreign / "model") as client:
        image = (foreign / "data/train/opaque/study 1.png").read_bytes()
        answer = client.post("/predict", content=image).raise_for_status().json()
    assert set(answer["probabilities"]) == {"clear", "opaque"}


def test_a_resumed_fit_does_not_keep_weights_of_an_epoch_that_was_not_finished(foreign: Path) -> None:
    shutil.copytree(foreign / "whole", foreign / "killed")
    shutil.copy(foreign / "killed/head.safetensors", foreign / "killed/seed-0/last.safetensors")  # as a kill may leave others
    run(foreign, "fit", "--run", "killed", "--seed", "0")
    assert_same_fit(foreign / "killed", foreign / "whole")


def wait_for_epoch(epoch: int, seed: Path) -> None:
    end = time.monotonic() + 120
    while not (seed / "resume.pt").exists() or len(history(seed)) <= epoch:
        assert time.monotonic() < end
        time.sleep(0.01)
