"""Prints a table of several runs: what each changed against the first, and its figures on the validations.

python -m training ablation runs/plain runs/texture … > training/report/ablation.csv

The networks of the last epochs are measured again, all on the same images, never on the test fold. The first line shows what
the first run changed of the defaults. The report of a model of the same data shows the committed
table, which explains the presets."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import msgspec

from training import config
from training.config import Config
from training.data import batches, manifest
from training.data.batches import Targets
from training.network import backbone, history, validation
from training.stages import fit

IGNORED = {  # not part of the recipe
    "name", "data.folder", "data.source", "data.ages", "data.limits", "data.properties", "data.elsewhere", "backbone.weights",
    "fit.seeds", "fit.ignore", "fit.device",
}  # fmt: skip


def write(runs: Sequence[Path], file: TextIO) -> None:
    """One line for each seed of each run. Raises ConfigError if a run folder is not one, or has no finished epoch."""
    configs = [config.read_saved(run / config.SAVED) for run in runs]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["change", "seed", *history.FIGURES])
    for run, choices in zip(runs, configs, strict=True):
        records = manifest.read_manifest(run / manifest.MANIFEST)
        kinds = Targets(records)
        loaders, matching = batches.validation(choices, records, kinds), fit.validation_weights(choices, records)
        for folder in sorted(run.glob("seed-*")):
            network = backbone.move_to_device(backbone.load(choices.backbone, folder / backbone.LAST), choices.fit.device)
            figures = validation.validate(network, loaders, kinds, matching)
            change = difference(Config() if run == runs[0] else configs[0], choices)
            texts = [f"{figures[name]:.4f}" if name in figures else "" for name in history.FIGURES]
            writer.writerow([change, folder.name.removeprefix("seed-"), *texts])
            file.flush()


def difference(first: Config, other: Config) -> str:
    """What `other` changes of `first`, in TOML's words: `augment.texture = 0.4, fit.epochs = 6`."""
    before, after = _flat(first), _flat(other)
    return ", ".join(f"{key} = {value}" for key, value in after.items() if before[key] != value and key not in IGNORED) or "–"


def _flat(choices: Config) -> dict[str, Any]:  # Any: values of any type
    flat: dict[str, Any] = {}
    for key, value in msgspec.to_builtins(choices).items():
        flat |= {f"{key}.{name}": inner for name, inner in value.items()} if isinstance(value, dict) else {key: value}
    return flat
