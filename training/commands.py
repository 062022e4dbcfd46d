"""What the commands of `python -m training` do with their options."""

import argparse
import shlex
import sys
from pathlib import Path

from service.errors import MedXferError
from training import config, config_files, files, pipeline, run_folder
from training.config import Config, ConfigError, Data
from training.data import phantoms, scan
from training.stages import fit
from training.tools import compare, evaluate, recalibrate, shortcuts, synthesise


def run_train(arguments: argparse.Namespace) -> None:
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
    else:
        pipeline.announce(run_dir / "model")


def _new_config(arguments: argparse.Namespace) -> Config:
    choices = config_files.load(arguments.config or Path("balanced"))
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


def run_stage(arguments: argparse.Namespace) -> None:
    choices = config.read_saved(arguments.run / config.SAVED)
    choices = config.with_paths(choices, elsewhere=_elsewhere(arguments.elsewhere))
    if arguments.seed is None:
        pipeline.run_stage(choices, arguments.run, arguments.stage)
    elif arguments.seed in range(choices.fit.seeds):
        fit.run_seed(choices, arguments.run, arguments.seed)
    else:
        raise ConfigError(f"--seed {arguments.seed}: the run has {choices.fit.seeds} seeds, counted from 0")


def run_evaluate(arguments: argparse.Namespace) -> None:
    """The stage of a run, or a finished model on somebody's images."""
    of_model = [arguments.model, arguments.images]
    if arguments.run and not any([*of_model, arguments.csv]):
        run_stage(arguments)
    elif all(of_model) and not arguments.run and not arguments.elsewhere:
        evaluate.run(arguments.model, _data(arguments.images, arguments.config), arguments.csv)
    else:
        raise ConfigError("evaluate needs either --run RUN, or --model MODEL and a folder of labelled images")


def run_phantoms(arguments: argparse.Namespace) -> None:
    if arguments.count < 2 or arguments.seed < 0:
        raise ConfigError(f"--count {arguments.count} --seed {arguments.seed}: at least 2 images, and no seed below 0")
    phantoms.write_data_set(arguments.folder, arguments.count, arguments.seed)
    print(f"{arguments.folder}: {arguments.count} phantoms")


def run_recalibrate(arguments: argparse.Namespace) -> None:
    pipeline.check_out(arguments.out)
    recalibrate.run(arguments.model, _data(arguments.data, arguments.config), arguments.out.resolve())
    pipeline.announce(arguments.out)


def run_shortcuts(arguments: argparse.Namespace) -> None:
    shortcuts.run(_data(arguments.folder, arguments.config), arguments.properties, arguments.model)


def _data(path: Path, configuration: Path | None) -> Data:
    """A user's labelled images, with what [data] of a configuration says of them."""
    return config.data_at(path, config_files.load(configuration).data if configuration else None)


def run_compare(arguments: argparse.Namespace) -> None:
    compare.run(arguments.first, arguments.second, _data(arguments.data, arguments.config))


def run_synthesise(arguments: argparse.Namespace) -> None:
    data = _data(arguments.data, arguments.config)
    synthesise.run(arguments.model, data, count=arguments.count, out=arguments.out, keep=arguments.keep)
