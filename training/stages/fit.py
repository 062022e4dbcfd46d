"""Stage 2: fits the head on frozen features, then the whole network; keeps the best epoch of each seed, and the best seed.

Writes for each seed, in `seed-0` and so on: `history.csv`, `curves.png`, `best.safetensors`, `last.safetensors`, and
`resume.pt`, from which an interrupted fit continues to the same weights (on a CPU). All seeds share `head.safetensors`."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from training import files
from training.config import Config
from training.data import batches, manifest, properties, splits
from training.data.batches import Images, Targets
from training.data.manifest import Record
from training.data.properties import Table
from training.network import backbone, history, independence, probe, validation
from training.network.backbone import Network
from training.network.history import Networks, Row
from training.network.tuning import FineTuning
from training.report import matched, plots
from training.report.bootstrap import Bools, Floats

RESUME, CURVES = "resume.pt", "curves.png"


def run(config: Config, run_dir: Path) -> None:
    """Fits all seeds, and writes the chosen network to `best.safetensors`."""
    for seed in range(config.fit.seeds):
        run_seed(config, run_dir, seed)
    network, found = choose(config, run_dir)
    print(f"chosen: {found.chosen}")
    backbone.save(network, run_dir / backbone.BEST)
    files.write_json(run_dir / history.NETWORKS, found)


def run_seed(config: Config, run_dir: Path, seed: int) -> None:
    """Fits one of `fit.seeds`, so that several machines can share them."""
    records = manifest.read_manifest(run_dir / manifest.MANIFEST)
    train, kinds = manifest.of_split(records, splits.TRAIN), Targets(records)
    sampler = batches.balanced_sampler(train, sampling_weights(config, train))
    crops = batches.loader(Images(config, train, kinds, batches.augmented(config)), sampler)
    loaders, matching = batches.validation(config, records, kinds), validation_weights(config, records)

    folder = history.folder(run_dir, seed)
    folder.mkdir(exist_ok=True)
    network = with_head(config, run_dir, train, kinds)
    torch.manual_seed(_seed(config.seed, seed, 0))
    tuning = FineTuning(network, config, len(crops), kinds.label_of_class)
    rows = tuning.restore(folder / RESUME)
    if rows:
        backbone.save(tuning.average.module, folder / backbone.LAST)  # a kill may have left the weights of a later epoch there
        keep_best(rows, folder)
    if history.is_over(rows, config.fit.epochs, config.fit.patience):
        return
    print(f"seed {seed}, {f'resuming after epoch {rows[-1].epoch}' if rows else 'from the head alone'}\n{history.HEADER}")
    while not history.is_over(rows, config.fit.epochs, config.fit.patience):
        epoch, start, candidate, loss = len(rows), time.monotonic(), network, None
        torch.manual_seed(_seed(config.seed, seed, epoch))  # the same whether the fit was interrupted or not
        if epoch:
            candidate, loss = tuning.run_epoch(crops, f"epoch {epoch} of {config.fit.epochs}")
        seconds = round(time.monotonic() - start, 2)
        rows.append(
            Row(epoch=epoch, seconds=seconds, train_loss=loss, **validation.validate(candidate, loaders, kinds, matching))
        )
        backbone.save(candidate, folder / backbone.LAST)
        history.write(rows, folder)
        plots.draw(folder / CURVES, plots.history, rows)
        tuning.save(rows, folder / RESUME)
        keep_best(rows, folder)
        print(history.line(rows[-1], history.best(rows) is rows[-1]), flush=True)


def choose(config: Config, run_dir: Path) -> tuple[Network, Networks]:
    """The best seed's network, and the figures of all. With `fit.ignore`, each seed's head is turned first: what the turn costs
    differs between seeds by more than their figures before it."""
    turn = turning(config, run_dir) if config.fit.ignore else None
    figures, best = {}, None
    for seed in range(config.fit.seeds):
        folder, name = history.folder(run_dir, seed), f"seed {seed}"
        figures[name] = history.figures_of(history.best(history.read(folder)))
        network = backbone.move_to_device(backbone.load(config.backbone, folder / backbone.BEST), config.fit.device)
        if turn:
            name = f"{name}, head turned"
            figures[name] = turn(network)
        score = history.score(figures[name])
        print(f"{name}: {score:.4f} is the mean of what chooses", flush=True)
        if best is None or score > best[0]:
            best = score, network, name, seed
    assert best is not None  # there is a seed
    _, network, name, seed = best
    return network, Networks(figures=figures, chosen=name, seed=seed)


def turning(config: Config, run_dir: Path) -> Callable[[Network], dict[str, float]]:
    """A function that turns a network's head away from `fit.ignore`, and returns its FIGURES."""
    records = manifest.read_manifest(run_dir / manifest.MANIFEST)
    train, kinds = manifest.of_split(records, splits.TRAIN), Targets(records)
    images = batches.loader(Images(config, train, kinds, batches.plain(config.backbone.image_size)))
    table, _ = _properties(config, train)
    ignored: Table = {name: table[name] for name in config.fit.ignore}
    validations, weights = batches.validation(config, records, kinds), validation_weights(config, records)

    def turn(network: Network) -> dict[str, float]:
        independence.turn_head(network, images, kinds, ignored)
        return validation.validate(network, validations, kinds, weights)

    return turn


def sampling_weights(config: Config, train: Sequence[Record]) -> Floats | None:
    return matched.sampling_weights(*_properties(config, train)) if config.fit.match else None


def validation_weights(config: Config, records: Sequence[Record]) -> Floats | None:
    """For `validation.validate`."""
    both = [*manifest.of_split(records, splits.VAL), *manifest.of_split(records, splits.SHIFTED)]
    return matched.validation_weights(*_properties(config, both))


def _properties(config: Config, records: Sequence[Record]) -> tuple[Table, Bools]:
    table = properties.measure_all(Path(config.data.folder), records, config.data.properties)
    return table, np.array([record.positive for record in records])


def keep_best(rows: Sequence[Row], folder: Path) -> None:
    """Called after `resume.pt` is written, so that the best epoch is always one that the saved history holds."""
    if history.best(rows) is rows[-1]:
        backbone.copy(folder / backbone.LAST, folder / backbone.BEST)


def with_head(config: Config, run_dir: Path, train: Sequence[Record], kinds: Targets) -> Network:
    """The pretrained network with its head fitted, once for all seeds. A random backbone has no features to fit a head on."""
    path = run_dir / backbone.HEAD
    if path.exists():
        return backbone.move_to_device(backbone.load(config.backbone, path), config.fit.device)
    torch.manual_seed(config.seed)
    network = backbone.move_to_device(backbone.build(config.backbone), config.fit.device)
    transforms = [batches.plain(config.backbone.image_size), *(batches.augmented(config) for _ in range(config.fit.views))]
    if config.backbone.weights != "none":
        probe.fit_head(network, [batches.loader(Images(config, train, kinds, transform)) for transform in transforms], kinds)
    backbone.save(network, path)
    return network


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])
