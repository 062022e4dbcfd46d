"""What each of several runs changed, against the first of them, and what came of it on the validations.

python -m training ablation runs/plain runs/texture … > training/ablation.csv

The networks of the last epochs are measured anew, all on the same images; the test fold is not looked at. The first line
says what it changed of the defaults. The report shows the table that stands beside this file: what was tried for the recipe.
"""

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

TABLE = Path(__file__).with_suffix(".csv")
PATHS = {"name", "data.folder", "data.source", "backbone.weights", "fit.seeds"}  # say nothing of the recipe


def write(runs: Sequence[Path], file: TextIO) -> None:
    """One line for each seed of each run. Raises ConfigError: not a run folder, or one without a finished epoch."""
    configs = [config.read_saved(run / config.SAVED) for run in runs]
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["change", "seed", *history.FIGURES])
    for run, choices in zip(runs, configs, strict=True):
        records = manifest.read_manifest(run / manifest.MANIFEST)
        kinds = Targets(records, choices.data.positive)
        loaders = batches.validation(choices, records, kinds)
        for folder in sorted(run.glob("seed-*")):
            network = backbone.move_to_device(backbone.load(choices.backbone, folder / backbone.LAST))
            figures = validation.validate(network, loaders, kinds)
            texts = [f"{figures[name]:.4f}" for name in history.FIGURES]
            change = difference(Config() if run == runs[0] else configs[0], choices)
            writer.writerow([change, folder.name.removeprefix("seed-"), *texts])
            file.flush()


def read() -> list[dict[str, str]]:
    """The table that stands beside this file; empty if there is none."""
    if not TABLE.exists():
        return []
    with TABLE.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def difference(first: Config, other: Config) -> str:
    """As TOML would say it: `augment.texture = 0.4, fit.mixup = 0.2`."""
    before, after = _flat(first), _flat(other)
    return ", ".join(f"{key} = {value}" for key, value in after.items() if before.get(key) != value and key not in PATHS) or "–"


def _flat(choices: Config) -> dict[str, Any]:  # Any: a choice
    tree = msgspec.to_builtins(choices)
    flat = {key: value for key, value in tree.items() if not isinstance(value, dict)}
    return flat | {f"{part}.{key}": value for part in tree if isinstance(tree[part], dict) for key, value in tree[part].items()}
