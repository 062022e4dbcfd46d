"""A run's own folder: its resolved configuration, the machine it was made on, and which stages are done. Never overwritten.

config.json          every choice, defaults too
environment.json     versions, processor, threads
stages.jsonl         a line for each stage that was finished, with its seconds
"""

import os
import platform
import tempfile
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


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    stage: str
    seconds: float


def create(choices: Config, folder: Path | None) -> Path:
    """Makes `folder`, or the next of runs/1, runs/2 … Raises ConfigError: it exists, or cannot be made."""
    folder = folder or _next(Path("runs"))
    if folder.exists():
        raise ConfigError(f"{folder} exists; runs are not overwritten (to go on with it: train --resume {folder})")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        aside = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        config.save_config(choices, aside / config.SAVED)
        (aside / ENVIRONMENT).write_bytes(msgspec.json.format(msgspec.json.encode(environment()), indent=2) + b"\n")
        aside.chmod(0o755)
        aside.rename(folder)
    except OSError as error:
        raise ConfigError(f"the run folder {folder} cannot be made ({error.strerror})") from error
    return folder


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
    """While it runs, it and those after it count as not done: they depend on it."""
    before = [line for line in _finished(folder) if order.index(line.stage) < order.index(name)]
    _write(folder, before)
    begin = time.monotonic()
    yield
    _write(folder, [*before, Finished(stage=name, seconds=round(time.monotonic() - begin, 1))])


def first_unfinished(folder: Path, order: Sequence[str]) -> str | None:
    done = {line.stage for line in _finished(folder)}
    return next((name for name in order if name not in done), None)


def _finished(folder: Path) -> list[Finished]:
    path = folder / STAGES
    try:
        return [msgspec.json.decode(line, type=Finished) for line in path.read_bytes().splitlines()] if path.exists() else []
    except msgspec.DecodeError as error:
        raise ConfigError(f"{path} is damaged ({error}); without it all stages run again") from error


def _write(folder: Path, lines: Sequence[Finished]) -> None:
    with files.whole(folder / STAGES) as aside:
        aside.write_bytes(b"".join(msgspec.json.encode(line) + b"\n" for line in lines))


def _next(parent: Path) -> Path:
    taken = [int(path.name) for path in parent.glob("*") if path.name.isdigit()]
    return parent / str(max(taken, default=0) + 1)
