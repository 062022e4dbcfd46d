"""python -m training: from a folder of labelled images to a model folder that `python -m service` serves."""

import argparse
import math
import os
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from service.errors import MedXferError
from training import allocator, config, files, pipeline, progress, run_folder
from training.config import Config, ConfigError, Data
from training.data import phantoms, scan
from training.stages import fit
from training.tools import ablation, compare, evaluate, recalibrate, shortcuts

EXAMPLE = """
example:
  python -m training phantoms data/phantoms --count 300
  python -m training train --data data/phantoms --config phantom --out models/phantom
  MEDXFER_MODEL=models/phantom python -m service predict data/phantoms/train/NORMAL

Exit codes: 0 done, 1 an error that is named in one line, 2 a wrong option, 130 interrupted.
"""
OF_DATA = "a TOML file whose [data] tells columns, patient and positive"
TRAIN_EXAMPLE = """
examples:
  python -m training train --data chest_xray --dry-run              show the images and their splits
  python -m training train --data chest_xray --config best --out models/mine
  python -m training train --resume runs/1                          continue after Ctrl-C or a kill, to the same weights
  python -m training train --resume runs/1 --from calibrate         run the later stages again
"""


def main() -> int:
    arguments = _parser().parse_args()
    allocator.keep_memory()
    progress.catch_all_interrupts()
    try:
        arguments.command(arguments)
    except KeyboardInterrupt:
        print("\nmedxfer: interrupted; finished work is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `… | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (MedXferError, OSError) as error:  # of the system: a full disk, a folder without permission
        print(f"medxfer: {error}", file=sys.stderr)
        return 1
    return 0


def _train(arguments: argparse.Namespace) -> None:
    if arguments.dry_run:
        pipeline.dry_run(config.with_device(_new_config(arguments), arguments.device), arguments.minutes)
        return
    if arguments.out:
        pipeline.check_out(arguments.out)
    if arguments.resume:
        choices, run_dir = config.with_device(_resumed_config(arguments), arguments.device), arguments.resume
        start = arguments.start or run_folder.first_unfinished(run_dir, pipeline.ORDER)
    elif arguments.start:
        raise ConfigError("--from needs --resume, the folder of the run to continue")
    else:
        choices = config.with_device(_new_config(arguments), arguments.device)
        pipeline.check(choices)
        if arguments.minutes is not None:
            choices = pipeline.fit_into(arguments.minutes, choices)
        run_dir, start = run_folder.create(choices, arguments.run), pipeline.ORDER[0]
        print(f"run folder {run_dir}")
    try:
        if start:
            pipeline.run(choices, run_dir, start)
    except KeyboardInterrupt:
        stage = run_folder.first_unfinished(run_dir, pipeline.ORDER)
        command = ["train", "--resume", str(run_dir), *(["--out", str(arguments.out)] if arguments.out else [])]
        print(f"\nstopped in {stage}; to go on: {pipeline.command()} {shlex.join(command)}", file=sys.stderr)
        raise
    except (MedXferError, OSError):
        if not arguments.resume:
            run_folder.remove_if_unbegun(run_dir)
        raise
    if arguments.out:
        pipeline.install(run_dir, arguments.out)


def _new_config(arguments: argparse.Namespace) -> Config:
    choices = config.load_config(arguments.config or Path("balanced"))
    choices = config.with_paths(
        choices, folder=arguments.data, weights=arguments.weights, elsewhere=_elsewhere(arguments.elsewhere)
    )
    choices = config.with_names(choices, name=arguments.name, positive=arguments.positive, source=arguments.source)
    if not choices.data.folder:
        raise ConfigError("no data: give --data FOLDER, or data.folder in the configuration")
    return choices


def _elsewhere(given: list[str] | None) -> dict[str, str] | None:
    """Reads each NAME=FOLDER."""
    if given is None:
        return None
    if bad := next((text for text in given if not all(text.partition("="))), None):
        raise ConfigError(f"--elsewhere {bad}: expected NAME=FOLDER")
    return dict(text.split("=", 1) for text in given)


def _resumed_config(arguments: argparse.Namespace) -> Config:
    """The configuration of the run; only the data folder, and other hospitals' images, may have changed."""
    kept = ("run", "config", "weights", "positive", "name", "source", "minutes")
    if given := [f"--{option}" for option in kept if getattr(arguments, option)]:
        raise ConfigError(f"--resume keeps the configuration of the run: without {', '.join(given)}")
    path = arguments.resume / config.SAVED
    choices = config.read_saved(path)
    if arguments.data:
        scan.find(config.data_at(arguments.data, choices.data))
    if arguments.data or arguments.elsewhere:
        choices = config.with_paths(choices, folder=arguments.data, elsewhere=_elsewhere(arguments.elsewhere))
        files.write_json(path, choices)
    return choices


def _stage(arguments: argparse.Namespace) -> None:
    choices = config.read_saved(arguments.run / config.SAVED)
    choices = config.with_paths(choices, elsewhere=_elsewhere(arguments.elsewhere))
    if arguments.seed is None:
        pipeline.run_stage(choices, arguments.run, arguments.stage)
    elif arguments.seed in range(choices.fit.seeds):
        fit.run_seed(choices, arguments.run, arguments.seed)
    else:
        raise ConfigError(f"--seed {arguments.seed}: the run has {choices.fit.seeds} seeds, counted from 0")


def _evaluate(arguments: argparse.Namespace) -> None:
    """The stage of a run, or a finished model on somebody's images."""
    of_model = [arguments.model, arguments.images]
    if arguments.run and not any([*of_model, arguments.csv]):
        _stage(arguments)
    elif all(of_model) and not arguments.run and not arguments.elsewhere:
        evaluate.run(arguments.model, _data(arguments.images, arguments.config), arguments.csv)
    else:
        raise ConfigError("evaluate needs either --run RUN, or --model MODEL and a folder of labelled images")


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"«{text}»: must be a number of minutes above 0")
    return minutes


def _phantoms(arguments: argparse.Namespace) -> None:
    if arguments.count < 2 or arguments.seed < 0:
        raise ConfigError(f"--count {arguments.count} --seed {arguments.seed}: at least 2 images, and no seed below 0")
    phantoms.write_data_set(arguments.folder, arguments.count, arguments.seed)
    print(f"{arguments.folder}: {arguments.count} phantoms")


def _recalibrate(arguments: argparse.Namespace) -> None:
    pipeline.check_out(arguments.out)
    recalibrate.run(arguments.model, _data(arguments.data, arguments.config), arguments.out.resolve())
    print(f"{arguments.out}: the model folder, ready to be served")


def _shortcuts(arguments: argparse.Namespace) -> None:
    shortcuts.run(_data(arguments.folder, arguments.config), arguments.properties, arguments.model)


def _data(path: Path, configuration: Path | None) -> Data:
    """A user's labelled images, with what [data] of a configuration says of them."""
    return config.data_at(path, config.load_config(configuration).data if configuration else None)


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m training", description=__doc__, epilog=EXAMPLE, formatter_class=formatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, document: str | None, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        """The list of commands shows the first line of `document`, the command's own help all of it."""
        line = re.sub(r"^Stage \d: ", "", (document or "").partition("\n")[0])
        command = commands.add_parser(name, help=line, description=document, formatter_class=formatter)
        command.set_defaults(command=run)
        return command

    train = add("train", "all stages: " + ", ".join(pipeline.ORDER) + "\n" + TRAIN_EXAMPLE, _train)
    train.add_argument("--data", type=Path, help="a folder of labelled images, or a table; see training/README.md")
    train.add_argument("--config", type=Path, help=f"a TOML file or a preset: {config.presets()} (default: balanced)")
    train.add_argument("--weights", help="imagenet, none, or a .safetensors, .pth or .pt file, instead of the configuration's")
    train.add_argument("--device", choices=get_args(config.Device), help="auto: a GPU if there is one (the default)")
    train.add_argument("--positive", metavar="LABEL", help="the positive label, instead of the configuration's")
    train.add_argument("--name", type=_name, help="of the model, likewise")
    train.add_argument("--source", help="name, licence and citation of the data for the model card, likewise")
    train.add_argument("--elsewhere", action="append", metavar="NAME=FOLDER", help="measure another hospital's images too")
    train.add_argument("--run", type=Path, help="run folder to make; default: the next of runs/1, runs/2 …")
    train.add_argument("--resume", type=Path, metavar="RUN", help="continue this run from its first unfinished stage")
    train.add_argument("--from", dest="start", choices=pipeline.ORDER, help="with --resume: from this stage on")
    train.add_argument("--out", type=Path, help="where to write the model folder, e.g. models/mine")
    train.add_argument("--dry-run", action="store_true", help="show data, shortcuts, configuration and time; write nothing")
    train.add_argument("--minutes", type=_minutes, help="as many epochs as there is time for, instead of the configuration's")

    for name, module in pipeline.STAGES.items():
        stage = add(name, f"{module.__doc__}\n\n  python -m training {name} --run runs/1", _stage)
        stage.set_defaults(stage=name, seed=None, elsewhere=None)
        stage.add_argument("--run", type=Path, required=name != "evaluate", help="a run folder")
        if name == "evaluate":
            stage.description = f"{module.__doc__}\n\n  python -m training evaluate --run runs/1\n\nOr: {evaluate.__doc__}"
            stage.set_defaults(command=_evaluate)
            stage.add_argument("--model", type=Path, help="a finished model, instead of --run")
            stage.add_argument("images", type=Path, nargs="?", help="with --model: labelled images, a folder or a table")
            stage.add_argument("--config", type=Path, help="with --model: " + OF_DATA)
            stage.add_argument("--csv", type=Path, help="with --model: write a line for each image")
            help_text = "measure another hospital's images too; may be repeated"
            stage.add_argument("--elsewhere", action="append", metavar="NAME=FOLDER", help=help_text)
        if name == "fit":
            stage.add_argument("--seed", type=int, help="fit only this one of `fit.seeds`, to share them between machines")

    command = add(
        "compare", compare.__doc__, lambda given: compare.run(given.first, given.second, _data(given.data, given.config))
    )
    command.add_argument("first", type=Path, metavar="MODEL")
    command.add_argument("second", type=Path, metavar="MODEL")
    command.add_argument("--data", type=Path, required=True, help="labelled images: a folder or a table")
    command.add_argument("--config", type=Path, help=OF_DATA)

    command = add("recalibrate", recalibrate.__doc__, _recalibrate)
    command.add_argument("model", type=Path)
    command.add_argument("--data", type=Path, required=True, help="labelled images: a folder or a table")
    command.add_argument("--config", type=Path, help=OF_DATA)
    command.add_argument("--out", type=Path, required=True, help="where to write the model folder")

    command = add("shortcuts", shortcuts.__doc__, _shortcuts)
    command.add_argument("folder", type=Path)
    command.add_argument("--model", type=Path, help="a model folder: how far does it follow them?")
    command.add_argument("--config", type=Path, help=OF_DATA)
    command.add_argument("--properties", default="", metavar="CSV", help="further properties, joined by its column «file»")

    command = add("ablation", ablation.__doc__, lambda given: ablation.write(given.runs, sys.stdout))
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN")

    command = add("phantoms", phantoms.__doc__, _phantoms)
    command.add_argument("folder", type=Path)
    command.add_argument("--count", type=int, default=300)
    command.add_argument("--seed", type=int, default=0)
    return parser


def _name(text: str) -> str:
    if re.fullmatch(config.NAME, text):
        return text
    allowed = "only letters A to Z, digits, «.», «_» and «-», the first a letter or digit, because it is part of addresses"
    raise argparse.ArgumentTypeError(f"«{text}»: {allowed}")


if __name__ == "__main__":
    sys.exit(main())
