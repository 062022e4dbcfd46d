"""Estimates how long a run takes, from some seconds of its own steps on this machine."""

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from training.config import Config, ConfigError
from training.data import batches, manifest, splits
from training.data.batches import Images, Targets
from training.data.manifest import Record
from training.network import backbone, validation
from training.network.tuning import FineTuning

SECONDS = 6  # of each of two measurements, after a first batch
GRAPH = 0.6  # time of an image in the exported graph, compared with PyTorch
QUANTISED = 3000  # images that take as long to send through the network as its quantisation does
CHECKED = 2500  # images that are altered, drawn or masked to evaluate a model
VALIDATIONS = 3  # an epoch's validation reads the images of both validations as they are, and twice altered


class Pace(NamedTuple):
    """Seconds for an image, decoding included: `forward` through the network, and `step` of fine-tuning."""

    forward: float
    step: float


def measure(config: Config, records: Sequence[Record]) -> Pace:
    """Raises ConfigError if timm has no such network, or if it cannot be used."""
    train, kinds = manifest.of_split(records, splits.TRAIN), Targets(records)
    network = backbone.move_to_device(backbone.build(replace(config.backbone, weights="none")), config.fit.device)
    tuning = FineTuning(network, config, len(train), kinds.label_of_class)
    plain, crops = batches.plain(config.backbone.image_size), batches.augmented(config)

    def forward(some: Sequence[Record]) -> None:
        validation.outputs(network, network, batches.loader(Images(config, some, kinds, plain)), "measure")

    def step(some: Sequence[Record]) -> None:
        tuning.run_epoch(batches.loader(Images(config, some, kinds, crops)), "measure")

    size = config.fit.batch_size
    return Pace(_seconds_an_image(forward, train, size), _seconds_an_image(step, train, size) if config.fit.epochs else 0)


def stages(config: Config, records: Sequence[Record], pace: Pace, audit_seconds: float) -> dict[str, float]:
    """Seconds of each stage: the images that it sends through the network, in PyTorch or in the exported graph, and what it
    does besides. The constants were chosen to give the times of one run of `fast`; no other run was compared with them."""
    count = {split: len(manifest.of_split(records, split)) for split in splits.USED}
    both, variants, graph = count[splits.VAL] + count[splits.SHIFTED], 1 + config.int8, GRAPH * pace.forward
    epoch = count[splits.TRAIN] * pace.step + VALIDATIONS * both * pace.forward
    head = (1 + config.fit.views) * count[splits.TRAIN] * pace.forward if config.backbone.weights != "none" else 0
    turn = (count[splits.TRAIN] + VALIDATIONS * both) * pace.forward if config.fit.ignore else 0
    seeds = config.fit.seeds * (VALIDATIONS * both * pace.forward + config.fit.epochs * epoch + turn)
    return {
        "audit": audit_seconds,
        "fit": head + seeds,
        "export": 8 + count[splits.TRAIN] * graph,
        "quantise": QUANTISED * pace.forward if config.int8 else 0,
        "calibrate": variants * (2 * count[splits.SHIFTED] + config.int8 * both) * graph,
        "evaluate": 5 + (VALIDATIONS * both + variants * count[splits.TEST] + CHECKED) * graph,
        "card": 2,
    }


def show(config: Config, records: Sequence[Record], pace: Pace, audit_seconds: float) -> None:
    found = stages(config, records, pace, audit_seconds)
    images = len(manifest.of_split(records, splits.TRAIN))
    print(
        f"{config.fit.seeds} × {config.fit.epochs} epochs of {images:,} images; minutes, as measured on this machine just now:"
    )
    print("  " + ", ".join(f"{stage} {seconds / 60:.1f}" for stage, seconds in found.items()))
    print(f"  about {sum(found.values()) / 60:.0f} minutes in all, if nothing else runs")


def epochs_within(minutes: float, config: Config, records: Sequence[Record], pace: Pace, audit_seconds: float) -> int:
    """The most epochs that a run of so many minutes has time for. Raises ConfigError if it has no time for one."""

    def seconds(epochs: int) -> float:
        choices = replace(config, fit=replace(config.fit, epochs=epochs))
        return sum(stages(choices, records, pace, audit_seconds).values())

    epochs = int((minutes * 60 - seconds(0)) / (seconds(1) - seconds(0)))
    if epochs < 1:
        one, none = (math.ceil(seconds(epochs) / 6) / 10 for epochs in (1, 0))
        least = f"{one:g} minutes with one epoch, {none:g} without any (as the preset «fast» has none)"
        raise ConfigError(f"--minutes {minutes:g}: too few; a run takes {least}")
    return epochs


def _seconds_an_image(run: Callable[[Sequence[Record]], None], train: Sequence[Record], size: int) -> float:
    """The mean over as many batches, spread over all images, as there is time for."""
    mixed = [train[at] for start in range(7) for at in range(start, len(train), 7)]
    parts = [mixed[start : start + size] for start in range(0, len(mixed) - size, size)] or [mixed]
    run(parts[0])
    begin, images = time.monotonic(), 0
    for part in parts:
        run(part)
        images += len(part)
        if time.monotonic() - begin > SECONDS:
            break
    return (time.monotonic() - begin) / images
