"""A run's own folder, which is never overwritten.

config.json          the resolved configuration, defaults included
environment.json     versions, processor, threads
stages.jsonl         one line for each finished stage, with its seconds"""

import os
import platform
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import msgspec
import torch

from training import config, files
from training.config import Config, ConfigError

ENVIRONMENT, STAGES = "environment.json", "stages.jsonl"
PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "onnx", "onnxruntime", "pillow")


class FinishedStage(msgspec.Struct, frozen=True, kw_only=True):
    stage: str
    seconds: float


def create(choices: Config, folder: Path | None) -> Path:
    """Makes `folder`, or the next of runs/1, runs/2 … Raises ConfigError if it exists, OSError if it cannot be made."""
    numbers = [int(path.name) for path in Path("runs").glob("*") if path.name.isdigit()]
    folder = folder or Path("runs") / str(max(numbers, default=0) + 1)
    try:
        folder.mkdir(parents=True)
        files.write_json(folder / config.SAVED, choices)
        files.write_json(folder / ENVIRONMENT, environment())
    except FileExistsError as error:
        raise ConfigError(f"{folder} exists; runs are not overwritten (to continue it: train --resume {folder})") from error
    return folder


def remove_if_unbegun(folder: Path) -> None:
    """Removes a folder that `create` made, if none of its stages has finished."""
    if not _finished(folder):
        shutil.rmtree(folder)


def environment() -> dict[str, object]:
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": torch.cpu.get_capabilities().get("cpu_name", platform.machine()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "cpus": os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "packages": {name: version(name) for name in PACKAGES},
    }


@contextmanager
def stage(folder: Path, name: str, order: Sequence[str]) -> Iterator[None]:
    """Records that the stage has finished. From its start, it and the stages after it, which depend on it, count as undone."""
    before = [line for line in _finished(folder) if order.index(line.stage) < order.index(name)]
    _write(folder, before)
    begin = time.monotonic()
    yield
    _write(folder, [*before, FinishedStage(stage=name, seconds=round(time.monotonic() - begin, 1))])


def first_unfinished(folder: Path, order: Sequence[str]) -> str | None:
    finished = {line.stage for line in _finished(folder)}
    return next((name for name in order if name not in finished), None)


def _finished(folder: Path) -> list[FinishedStage]:
    path = folder / STAGES
    try:
        return msgspec.json.Decoder(FinishedStage).decode_lines(path.read_bytes()) if path.exists() else []
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is damaged ({error}); delete it to run all stages again") from error


def _write(folder: Path, lines: Sequence[FinishedStage]) -> None:
    with files.atomic_write(folder / STAGES) as temporary:
        temporary.write_bytes(msgspec.json.Encoder().encode_lines(lines))
