"""All stages in order, in a run folder that keeps what each has finished; then the model to where it is served from."""

import shutil
import tempfile
from pathlib import Path

import msgspec

from service.model import artefact
from training import run_folder
from training.config import Config, ConfigError
from training.data import splits
from training.graph import model_folder
from training.stages import audit, calibrate, card, evaluate, export, fit, quantise

STAGES = {
    "audit": audit.run,
    "fit": fit.run,
    "export": export.run,
    "quantise": quantise.run,
    "calibrate": calibrate.run,
    "evaluate": evaluate.run,
    "card": card.run,
}
ORDER = list(STAGES)


class Interrupted(KeyboardInterrupt):
    """With the name of the stage that was not finished."""


def run(choices: Config, run_dir: Path, start: str) -> None:
    """From the stage `start` on. Raises Interrupted: by Ctrl-C; and what the stages raise."""
    for name in ORDER[ORDER.index(start) :]:
        print(f"— {name}", flush=True)
        try:
            run_stage(choices, run_dir, name)
        except KeyboardInterrupt as interrupt:
            raise Interrupted(name) from interrupt


def run_stage(choices: Config, run_dir: Path, name: str) -> None:
    with run_folder.stage(run_dir, name, ORDER):
        STAGES[name](choices, run_dir)


def dry_run(choices: Config) -> None:
    """What a run would do, and on what; writes nothing."""
    images = sum(record.split == splits.TRAIN for record in audit.cut(choices))
    steps = -(-images // choices.fit.batch_size)
    print(msgspec.json.format(msgspec.json.encode(choices), indent=2).decode())
    print(f"{choices.fit.seeds} × {choices.fit.epochs} epochs of {steps:,} steps, {images:,} images each; nothing was written")


def check_out(out: Path) -> None:
    """Before hours of work. Raises ConfigError: nothing can be written there, or what stands there is not a model."""
    inside = {path.name for path in out.iterdir()} if out.is_dir() else set()
    is_model = {artefact.DESCRIPTION, artefact.SUMS} <= inside
    is_empty = out.is_dir() and not inside
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
    """Copy the model folder to where it is served from, whole or not at all. Raises ArtefactError: the run's is damaged."""
    model_folder.load(run_dir / "model")
    out = out.resolve()
    aside = model_folder.beside(out)
    shutil.copytree(run_dir / "model", aside)
    model_folder.put_in_place(aside, out)
    print(f"{out}: the model folder, ready to be served")
