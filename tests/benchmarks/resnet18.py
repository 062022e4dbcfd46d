"""The benchmark's second model: a ResNet-18, trained on phantoms once, in .benchmarks/models. Takes minutes on two CPUs."""

import shutil
import subprocess
import sys
from pathlib import Path

from tests.benchmarks.environments import BENCHMARKS
from tests.conftest import ROOT

CONFIG = Path(__file__).with_name("resnet18.toml")
MODEL = BENCHMARKS / "models" / "resnet18"
IMAGES = 600


def model() -> Path:
    """The model folder. Trains the model if it does not exist."""
    if not (MODEL / "model.json").exists():
        print("training the benchmark's ResNet-18 …", flush=True)
        data, run = BENCHMARKS / "phantoms", BENCHMARKS / "runs" / "resnet18"
        shutil.rmtree(run, ignore_errors=True)
        _training("phantoms", str(data), "--count", str(IMAGES), "--seed", "0")
        _training("train", "--data", str(data), "--config", str(CONFIG), "--run", str(run), "--out", str(MODEL))
    return MODEL


def _training(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "training", *arguments], cwd=ROOT, check=True)
