"""python -m training: from a folder of labelled images to a model folder that `python -m service` serves."""

import argparse
import os
import shutil
import sys
import tempfile
from pathlib import Path

from service import artefact
from service.errors import MedXferError
from training import audit, backbone, calibrate, card, config, evaluate, export, fit, model_folder, phantom
from training.config import Config

STAGES = {
    "audit": audit.run,
    "fit": fit.run,
    "export": export.run,
    "calibrate": calibrate.run,
    "evaluate": evaluate.run,
    "card": card.run,
}
CONFIG = "config.json"
CONFIGS = Path(__file__).parent / "configs"
INTERRUPTED = 130

EXAMPLE = """
example:
  python -m training phantoms data/phantoms --count 300
  python -m training train --data data/phantoms --config training/configs/phantom.toml --out models/phantom
"""


def main() -> int:
    arguments = _parser().parse_args()
    try:
        arguments.command(arguments)
    except MedXferError as error:
        print(f"medxfer: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nmedxfer: interrupted; what was finished is kept", file=sys.stderr)
        return INTERRUPTED
    return 0


def train(arguments: argparse.Namespace) -> None:
    """All stages, or from one of them on, in a run folder that keeps what each has finished."""
    if arguments.out:
        _check_out(arguments.out)
    run_dir, choices = _open_run(arguments)
    names = list(STAGES)
    for name in names[names.index(arguments.start or names[0]) :]:
        print(f"— {name}", flush=True)
        try:
            STAGES[name](choices, run_dir)
        except KeyboardInterrupt:
            print(f"\nstopped in {name}; {_how_to_go_on(name, run_dir, arguments.out)}", file=sys.stderr)
            raise
    if arguments.out:
        install(run_dir, arguments.out)


def install(run_dir: Path, out: Path) -> None:
    """Copy the model folder to where it is served from, whole or not at all."""
    aside = out.with_name(out.name + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(run_dir / "model", aside)
    model_folder.put_in_place(aside, out)
    print(f"{out}: the model folder, ready to be served")


def _check_out(out: Path) -> None:
    """Before hours of work. Raises ConfigError: nothing can be written there, or what stands there is not a model."""
    if out.is_file() or (out.is_dir() and any(out.iterdir()) and not (out / artefact.DESCRIPTION).exists()):
        raise config.ConfigError(f"--out {out}: exists and is not a model folder; it would be replaced")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=out.parent):
            pass
    except OSError as error:
        raise config.ConfigError(f"--out {out}: cannot write to {out.parent} ({error.strerror})") from error


def _open_run(arguments: argparse.Namespace) -> tuple[Path, Config]:
    if arguments.start:
        if not arguments.run:
            raise config.ConfigError("--from needs --run, the folder of the run to go on with")
        return arguments.run, config.read_saved(arguments.run / CONFIG)
    choices = config.with_paths(config.load_config(arguments.config), folder=arguments.data, weights=arguments.weights)
    if not choices.data.folder:
        raise config.ConfigError("no data: give --data FOLDER, or data.folder in the configuration")
    run_dir = arguments.run or _next_run(Path("runs"))
    try:
        run_dir.mkdir(parents=True)
    except FileExistsError:
        raise config.ConfigError(f"{run_dir} exists; runs are not overwritten") from None
    except OSError as error:
        raise config.ConfigError(f"the run folder {run_dir} cannot be made ({error.strerror})") from error
    config.save_config(choices, run_dir / CONFIG)
    print(f"run folder {run_dir}")
    return run_dir, choices


def _next_run(parent: Path) -> Path:
    taken = [int(path.name) for path in parent.glob("*") if path.name.isdigit()]
    return parent / str(max(taken, default=0) + 1)


def _how_to_go_on(stage: str, run_dir: Path, out: Path | None) -> str:
    """From the stage that was stopped, which itself goes on where it can."""
    program = os.environ.get("TRAINING_COMMAND", f"{sys.executable} -m training")  # set in the image, whose paths end with it
    command = f"{program} train --run {run_dir} --from {stage}{f' --out {out}' if out else ''}"
    usable = stage == "fit" and (run_dir / backbone.BEST).exists()
    return f"to go on: {command}{' (or, with its best epoch so far, --from export)' if usable else ''}"


def _stage(arguments: argparse.Namespace) -> None:
    STAGES[arguments.stage](config.read_saved(arguments.run / CONFIG), arguments.run)


def _phantoms(arguments: argparse.Namespace) -> None:
    phantom.write_data_set(arguments.folder, arguments.count, arguments.seed)
    print(f"{arguments.folder}: {arguments.count} phantoms")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m training", description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    whole = commands.add_parser("train", help="run all stages: " + ", ".join(STAGES))
    whole.add_argument("--data", type=Path, help="folder with train/LABEL/*.jpeg, and val and test if there are")
    whole.add_argument("--config", type=Path, default=CONFIGS / "resnet18.toml", help="default: resnet18.toml, one of ours")
    whole.add_argument("--weights", help="imagenet, none, or a .safetensors file, instead of the configuration's")
    whole.add_argument("--run", type=Path, help="run folder to make, or with --from to go on with; default: runs/N")
    whole.add_argument("--from", dest="start", choices=STAGES, help="go on with --run from this stage")
    whole.add_argument("--out", type=Path, help="where to leave the model folder, e.g. models/mine")
    whole.set_defaults(command=train)

    for name, run in STAGES.items():
        stage = commands.add_parser(name, help=(sys.modules[run.__module__].__doc__ or "").splitlines()[0].split(": ", 1)[1])
        stage.add_argument("--run", type=Path, required=True, help="a run folder")
        stage.set_defaults(command=_stage, stage=name)

    drawing = commands.add_parser("phantoms", help="draw synthetic chest X-rays to try things with")
    drawing.add_argument("folder", type=Path)
    drawing.add_argument("--count", type=int, default=300)
    drawing.add_argument("--seed", type=int, default=0)
    drawing.set_defaults(command=_phantoms)
    return parser


if __name__ == "__main__":
    sys.exit(main())
