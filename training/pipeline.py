"""Runs the stages in their order in a run folder, and copies the finished model to where it is served from."""

import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import msgspec
from msgspec.structs import replace

from service.model import artefact
from training import estimate, run_folder
from training.config import Config, ConfigError
from training.data import labels, scan, splits
from training.graph import model_folder
from training.network import backbone, device, weights
from training.report import overview, shortcuts
from training.stages import audit, calibrate, card, evaluate, export, fit, quantise

STAGES = {stage.__name__.rpartition(".")[2]: stage for stage in (audit, fit, export, quantise, calibrate, evaluate, card)}
ORDER = list(STAGES)
QUANTISE = "quantise"
AUDIT = 3  # an audit takes so many times as long as its first reading of the images


def run(choices: Config, run_dir: Path, start: str) -> None:
    """Runs the stage `start` and all after it."""
    print(device.describe(choices.fit.device))
    for name in ORDER[ORDER.index(start) :]:
        print(f"— {name}", flush=True)
        if name == QUANTISE and not choices.int8 and start != QUANTISE:
            with run_folder.stage(run_dir, name, ORDER):
                print(f"left out (int8 = false); to make it: {command()} train --resume {run_dir} --from {QUANTISE}")
        else:
            run_stage(choices, run_dir, name)


def command() -> str:
    """What runs this program; the container image sets its own."""
    return os.environ.get("TRAINING_COMMAND", f"{sys.executable} -m training")


def run_stage(choices: Config, run_dir: Path, name: str) -> None:
    with run_folder.stage(run_dir, name, ORDER):
        STAGES[name].run(choices, run_dir)


def check(choices: Config, *, download: bool = True) -> None:
    """Checks what a run begins with, before its folder is made and every image is read: the data's layout and labels, device,
    starting weights. Raises DataError or ConfigError. Without `download`, ImageNet weights are taken for granted."""
    labels.group(Counter(file.label for file in scan.find(choices.data).files), choices.data)
    for name, folder in choices.data.elsewhere.items():
        if not Path(folder).exists():
            raise ConfigError(f"--elsewhere {name}={folder}: no such folder")
    device.choose(choices.fit.device)
    is_granted = choices.backbone.weights == "imagenet" and not download
    backbone.build(msgspec.structs.replace(choices.backbone, weights="none") if is_granted else choices.backbone)
    if choices.backbone.weights == "none":
        print(weights.FROM_NOTHING)


def dry_run(choices: Config, minutes: float | None = None) -> None:
    """Prints what a run would read and do, and how long it would take, and writes nothing."""
    check(choices, download=False)
    begin = time.monotonic()
    records = audit.cut(choices)
    shortcuts.show(audit.find_shortcuts(choices, records))
    seconds = time.monotonic() - begin
    overview.show_configuration(choices)
    print(device.describe(choices.fit.device))
    pace = estimate.measure(choices, records)
    if minutes is not None:
        choices = with_epochs(choices, estimate.epochs_within(minutes, choices, records, pace, seconds))
    estimate.show(choices, records, pace, seconds)
    print("nothing was written")


def fit_into(minutes: float, choices: Config) -> Config:
    """The same configuration with as many epochs as a run of so many minutes has time for. Raises ConfigError if that is none,
    DataError as `audit.cut`."""
    begin = time.monotonic()
    found = scan.scan(choices.data).records
    splits.check_enough(found)
    records = splits.split(found, choices.data, choices.seed)
    seconds = AUDIT * (time.monotonic() - begin)
    pace = estimate.measure(choices, records)
    choices = with_epochs(choices, estimate.epochs_within(minutes, choices, records, pace, seconds))
    estimate.show(choices, records, pace, seconds)
    return choices


def with_epochs(choices: Config, epochs: int) -> Config:
    return replace(choices, fit=replace(choices.fit, epochs=epochs))


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
    announce(out)


def announce(folder: Path) -> None:
    """Says that the model folder is finished, and whether it is of any use yet."""
    thresholds = model_folder.description_of(folder).thresholds
    is_sure = thresholds.screening > 0 or thresholds.rule_in < 1
    but = "" if is_sure else "; too few images show when its answers are right, so it calls all of them uncertain"
    print(f"{folder}: the model folder, ready to be served{but}")
