"""Images per second of a training epoch and of feature extraction, and the network's share of that time.

make benchmark-training        writes tests/benchmarks/training.json, prints the README's table

Runs an epoch from files on disk and the same number of steps on a batch in memory, in turn; figures are medians. The difference
is decoding, augmentation, and passing between processes.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks import results
from tests.benchmarks.images import Kind, drawings, encode
from training import allocator, config
from training.config import Config
from training.data import batches, layouts, phantoms
from training.data.batches import Images, Loader, Targets
from training.graph import inference
from training.network import backbone, validation
from training.network.tuning import FineTuning
from training.stages import export

RESULT = Path(__file__).with_suffix(".json")
SIZES = [(224, 224), (1300, 1000)]  # width, height of the JPEG files
IMAGES, REPEATS = 512, 3


def main() -> None:
    allocator.keep_memory()
    rows = []
    for size in SIZES:
        with tempfile.TemporaryDirectory() as name:
            rows += measure(Path(name), size)
    print(table(results.record(RESULT, {"images": IMAGES, "rows": rows})))


def measure(folder: Path, size: tuple[int, int]) -> list[dict[str, Any]]:
    for index, drawing in enumerate(drawings(IMAGES, seed=0)):
        path = folder / "train" / (phantoms.NORMAL, phantoms.PNEUMONIA)[index % 2] / f"{index}.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(drawing, Kind(path.name, "JPEG", size)))
    choices = config.with_paths(config.load_config(config.PRESETS / "best.toml"), folder=folder, weights="none")
    records = layouts.scan(folder)
    kinds = Targets(records, choices.data.positive)
    network = backbone.move_to_device(backbone.build(choices.backbone))
    crops = batches.loader(Images(choices, records, kinds, batches.augmented(choices)), batches.balanced_sampler(records))
    plain = batches.loader(Images(choices, records, kinds, batches.plain(choices.backbone.image_size)))
    tuning = FineTuning(network, choices, len(crops), kinds.label_of_class)
    exported = export.build_graph(backbone.build(choices.backbone), choices, kinds.labels)
    epoch = alternate(lambda images: tuning.run_epoch(images, "epoch"), crops, in_memory(choices))
    features = alternate(
        lambda images: validation.outputs(network, network.pooled, images, "features"), plain, in_memory(choices)
    )
    begin = time.monotonic()
    inference.novelty_features(exported, folder, records)
    seconds = {
        "training epoch": epoch,
        "features, PyTorch": features,
        "features, exported graph": (time.monotonic() - begin, None),
    }
    return [
        {
            "what": what,
            "files": f"{size[0]} × {size[1]}",
            "images_per_second": IMAGES / whole,
            "network_share": alone and alone / whole,
        }
        for what, (whole, alone) in seconds.items()
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


def table(result: dict[str, Any]) -> str:  # Any: JSON
    head = f"| on {result['cpus']} CPUs ({result['processor']}) | files | images/s | of the time in the network |"
    lines = [head, "|---|---|---|---|"]
    for row in result["rows"]:
        share = "" if row["network_share"] is None else f"{min(row['network_share'], 1):.0%}"
        lines.append(f"| {row['what']} | {row['files']} | {row['images_per_second']:.0f} | {share} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
