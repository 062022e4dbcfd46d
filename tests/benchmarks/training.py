"""Images a second in an epoch and in feature extraction, and how much of that time the network itself takes.

make benchmark-training        writes tests/benchmarks/training.json, prints the README's table

An epoch from files on disk and the same number of steps on a batch that lies in memory, in turn; medians. What the second
does not take is decoding, augmentation and their passage between processes.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from service.model.classifier import GreyImage
from training import allocator, config, run_folder
from training.config import Config
from training.data import batches, layouts, phantoms
from training.data.batches import Loader, Targets
from training.graph import inference
from training.network import backbone, validation
from training.network.tuning import FineTuning
from training.stages import export

RESULT = Path(__file__).with_suffix(".json")
SIZES = [(224, 224), (1300, 1000)]  # width, height of the JPEG files
IMAGES, REPEATS = 512, 3


def main() -> None:
    allocator.keep_memory()
    environment = run_folder.environment()
    rows = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            rows += measure(Path(name), size)
    result = {"processor": environment["processor"], "cpus": environment["cpus"], "images": IMAGES, "rows": rows}
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(table(result))


def measure(folder: Path, size: tuple[int, int]) -> list[dict[str, Any]]:
    draw(folder, size)
    choices = config.with_paths(config.load_config(config.PRESETS / "best.toml"), folder=folder, weights="none")
    records = layouts.scan(folder)
    kinds = Targets(records, choices.data.positive)
    network = backbone.move_to_device(backbone.build(choices.backbone))
    crops = batches.loader(choices, records, kinds, batches.augmented(choices), sampler=batches.balanced_sampler(records))
    plain = batches.loader(choices, records, kinds, batches.plain(choices.backbone.image_size))
    tuning = FineTuning(network, choices, len(crops), kinds.label_of_class)
    exported = export.build_graph(backbone.build(choices.backbone), choices, kinds.labels)
    epoch = alternate(lambda images: tuning.run_epoch(images, "epoch"), crops, in_memory(choices))
    features = alternate(
        lambda images: validation.outputs(network, network.pooled, images, "features"), plain, in_memory(choices)
    )
    begin = time.monotonic()
    inference.novelty_features(exported, folder, records)
    onnx = time.monotonic() - begin
    seconds = {"training epoch": epoch, "features, PyTorch": features, "features, exported graph": (onnx, None)}
    return [
        {
            "what": what,
            "files": f"{size[0]} × {size[1]}",
            "images_per_second": IMAGES / whole,
            "network_share": network and network / whole,
        }
        for what, (whole, network) in seconds.items()
    ]


def alternate(work: Callable[[Loader], object], from_files: Loader, from_memory: Loader) -> tuple[float, float]:
    """Median seconds of both."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(REPEATS):
        for images, taken in zip((from_files, from_memory), seconds, strict=True):
            begin = time.monotonic()
            work(images)
            taken.append(time.monotonic() - begin)
    return statistics.median(seconds[0]), statistics.median(seconds[1])


def in_memory(choices: Config) -> Loader:
    size = choices.backbone.image_size
    batch = (torch.randn(choices.fit.batch_size, 1, size, size), torch.arange(choices.fit.batch_size) % 2)
    return [batch] * (IMAGES // choices.fit.batch_size)  # type: ignore[return-value]  # of a loader, only iteration is used


def draw(folder: Path, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for index in range(IMAGES):
        label = (phantoms.NORMAL, phantoms.PNEUMONIA)[index % 2]
        path = folder / "train" / label / f"{index}.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey: GreyImage = phantoms.draw(rng, sick=index % 2 == 1)
        Image.fromarray(grey).resize(size).save(path, quality=90)


def table(result: dict[str, Any]) -> str:
    lines = [
        f"| on {result['cpus']} CPUs ({result['processor']}) | files | images/s | of the time in the network |",
        "|---|---|---|---|",
    ]
    for row in result["rows"]:
        share = "" if row["network_share"] is None else f"{min(row['network_share'], 1):.0%}"
        lines.append(f"| {row['what']} | {row['files']} | {row['images_per_second']:.0f} | {share} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
