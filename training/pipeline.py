"""Runs the stages in their order in a run folder, and copies the finished model to where it is served from."""

import shutil
import tempfile
from pathlib import Path

import msgspec

from service.model import artefact
from training import run_folder
from training.config import Config, ConfigError
from training.data import layouts, splits
from training.graph import model_folder
from training.network import backbone, device, weights
from training.report import shortcuts
from training.stages import audit, calibrate, card, evaluate, export, fit, quantise

STAGES = {stage.__name__.rpartition(".")[2]: stage for stage in (audit, fit, export, quantise, calibrate, evaluate, card)}
ORDER = list(STAGES)


def run(choices: Config, run_dir: Path, start: str) -> None:
    """Runs the stage `start` and all after it."""
    print(device.describe(choices.fit.device))
    for name in ORDER[ORDER.index(start) :]:
        print(f"— {name}", flush=True)
        run_stage(choices, run_dir, name)


def run_stage(choices: Config, run_dir: Path, name: str) -> None:
    with run_folder.stage(run_dir, name, ORDER):
        STAGES[name].run(choices, run_dir)


def check(choices: Config, *, download: bool = True) -> None:
    """Checks what a run begins with, before its folder is made and every image is read: folders, device, starting weights.
    Raises DataError or ConfigError. Without `download`, ImageNet weights are taken for granted."""
    layouts.check_layout(Path(choices.data.folder))
    for name, folder in choices.data.elsewhere.items():
        if not Path(folder).is_dir():
            raise ConfigError(f"--elsewhere {name}={folder}: no such folder")
    device.choose(choices.fit.device)
    is_granted = choices.backbone.weights == "imagenet" and not download
    backbone.build(msgspec.structs.replace(choices.backbone, weights="none") if is_granted else choices.backbone)
    if choices.backbone.weights == "none":
        print(weights.FROM_NOTHING)


def dry_run(choices: Config) -> None:
    """Prints what a run would read and do, and writes nothing."""
    check(choices, download=False)
    print(device.describe(choices.fit.device))
    records = audit.cut(choices)
    shortcuts.show(audit.find_shortcuts(choices, records))
    images = sum(record.split == splits.TRAIN for record in records)
    steps = -(-images // choices.fit.batch_size)
    print(msgspec.json.format(msgspec.json.encode(choices), indent=2).decode())
    print(f"{choices.fit.seeds} × {choices.fit.epochs} epochs of {steps:,} steps, {images:,} images each; nothing was written")


def check_out(out: Path) -> None:
    """Checks `--out` before hours of work. Raises ConfigError if it cannot be written, or is something other than a model."""
    is_model = all((out / name).exists() for name in (artefact.DESCRIPTION, artefact.SUMS))
    is_empty = out.is_dir() and not any(out.iterdir())
    if out.exists() and not (is_model or is_empty):
        raise ConfigError(f"--out {out}: exists and is not a model folder; it would be replaced")
    parent = out.resolve().parent
    try:
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent):
            pass
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot write to {parent} ({error.strerror})") from error


def install(run_dir: Path, out: Path) -> None:
    """Replaces `out` by the run's model folder in one step. Raises ArtefactError if the run's model is damaged."""
    model_folder.load(run_dir / "model")
    out = out.resolve()
    temporary = model_folder.beside(out)
    shutil.copytree(run_dir / "model", temporary)
    model_folder.put_in_place(temporary, out)
    print(f"{out}: the model folder, ready to be served")
