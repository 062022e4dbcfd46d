"""python -m training: from a folder of labelled images to a model folder that `python -m service` serves."""

import argparse
import math
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from service.errors import MedXferError
from training import allocator, commands, config, config_files, pipeline, progress
from training.data import phantoms
from training.tools import ablation, compare, evaluate, recalibrate, shortcuts, synthesise

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


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"«{text}»: must be a number of minutes above 0")
    return minutes


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m training", description=__doc__, epilog=EXAMPLE, formatter_class=formatter)
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, document: str | None, run: Callable[[argparse.Namespace], None]) -> argparse.ArgumentParser:
        """The list of commands shows the first line of `document`, the command's own help all of it."""
        line = re.sub(r"^Stage \d: ", "", (document or "").partition("\n")[0])
        command = subparsers.add_parser(name, help=line, description=document, formatter_class=formatter)
        command.set_defaults(command=run)
        return command

    train = add("train", "all stages: " + ", ".join(pipeline.ORDER) + "\n" + TRAIN_EXAMPLE, commands.run_train)
    train.add_argument("--data", type=Path, help="a folder of labelled images, or a table; see training/README.md")
    train.add_argument("--config", type=Path, help=f"a TOML file or a preset: {config_files.presets()} (default: balanced)")
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
        stage = add(name, f"{module.__doc__}\n\n  python -m training {name} --run runs/1", commands.run_stage)
        stage.set_defaults(stage=name, seed=None, elsewhere=None)
        stage.add_argument("--run", type=Path, required=name != "evaluate", help="a run folder")
        if name == "evaluate":
            stage.description = f"{module.__doc__}\n\n  python -m training evaluate --run runs/1\n\nOr: {evaluate.__doc__}"
            stage.set_defaults(command=commands.run_evaluate)
            stage.add_argument("--model", type=Path, help="a finished model, instead of --run")
            stage.add_argument("images", type=Path, nargs="?", help="with --model: labelled images, a folder or a table")
            stage.add_argument("--config", type=Path, help="with --model: " + OF_DATA)
            stage.add_argument("--csv", type=Path, help="with --model: write a line for each image")
            help_text = "measure another hospital's images too; may be repeated"
            stage.add_argument("--elsewhere", action="append", metavar="NAME=FOLDER", help=help_text)
        if name == "fit":
            stage.add_argument("--seed", type=int, help="fit only this one of `fit.seeds`, to share them between machines")

    command = add("compare", compare.__doc__, commands.run_compare)
    command.add_argument("first", type=Path, metavar="MODEL")
    command.add_argument("second", type=Path, metavar="MODEL")
    command.add_argument("--data", type=Path, required=True, help="labelled images: a folder or a table")
    command.add_argument("--config", type=Path, help=OF_DATA)

    command = add("recalibrate", recalibrate.__doc__, commands.run_recalibrate)
    command.add_argument("model", type=Path)
    command.add_argument("--data", type=Path, required=True, help="labelled images: a folder or a table")
    command.add_argument("--config", type=Path, help=OF_DATA)
    command.add_argument("--out", type=Path, required=True, help="where to write the model folder")

    command = add("shortcuts", shortcuts.__doc__, commands.run_shortcuts)
    command.add_argument("folder", type=Path)
    command.add_argument("--model", type=Path, help="a model folder: how far does it follow them?")
    command.add_argument("--config", type=Path, help=OF_DATA)
    command.add_argument("--properties", default="", metavar="CSV", help="further properties, joined by its column «file»")

    command = add("synthesise", synthesise.__doc__, commands.run_synthesise)
    command.add_argument("model", type=Path)
    command.add_argument("--data", type=Path, required=True, help="the images that the model was trained on, in any layout")
    command.add_argument("--config", type=Path, help=OF_DATA)
    command.add_argument("--out", type=Path, metavar="FOLDER", help="draw candidates, and write them there")
    command.add_argument("--count", type=int, default=12, help="candidates of each label (default: 12)")
    command.add_argument("--keep", type=Path, metavar="FILE", help="a TOML file with label, seed and look of each chosen one")

    command = add("ablation", ablation.__doc__, lambda given: ablation.write(given.runs, sys.stdout))
    command.add_argument("runs", type=Path, nargs="+", metavar="RUN")

    command = add("phantoms", phantoms.__doc__, commands.run_phantoms)
    command.add_argument("folder", type=Path)
    command.add_argument("--count", type=int, default=300, help="number of images (default: 300)")
    command.add_argument("--seed", type=int, default=0, help="another one draws other images (default: 0)")
    return parser


def _name(text: str) -> str:
    if re.fullmatch(config.NAME, text):
        return text
    allowed = "only letters A to Z, digits, «.», «_» and «-», the first a letter or digit, because it is part of addresses"
    raise argparse.ArgumentTypeError(f"«{text}»: {allowed}")


if __name__ == "__main__":
    sys.exit(main())
