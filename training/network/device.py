"""The device that trains: a GPU if torch finds one, unless `fit.device` says otherwise."""

import shutil
from pathlib import Path

import torch

from training.config import ConfigError, Device


def choose(wanted: Device) -> torch.device:
    """Raises ConfigError if it is `cuda` and torch finds no GPU."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"fit.device = «cuda»: torch {torch.__version__} finds no GPU here; «auto» uses one where there is one"
        )
    return torch.device("cpu" if wanted == "cpu" or not torch.cuda.is_available() else "cuda")


def describe(wanted: Device) -> str:
    """For people: which device it is, and why a GPU is not used that seems to be there."""
    if choose(wanted).type == "cuda":
        return f"device: {torch.cuda.get_device_name()}"
    threads = torch.get_num_threads()
    line = f"device: CPU, {threads} thread{'s' * (threads != 1)}"
    if wanted == "cpu" or not _has_driver():
        return line
    mend = "to install one that may, remove .venv and run make again"
    return f"{line}\nnote: there is an NVIDIA driver here, but torch {torch.__version__} finds no GPU; {mend}"


def _has_driver() -> bool:
    """As the Makefile asks, which installs the torch for it."""
    return shutil.which("nvidia-smi") is not None or Path("/proc/driver/nvidia").exists()
