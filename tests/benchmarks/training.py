"""Images per second of a training epoch and of feature extraction, and the network's share of that time.
make benchmark-training        writes tests/benchmarks/training.json, prints the README's table
Runs an epoch from files on disk and the same number of steps on a batch in memory, in turn; figures are medians. The difference
is decoding, augmentation, and passing between processes."""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from tests.benchmarks import results
from tests.benchmarks.headlines import markdown
from tests.benchmarks.images import Kind, drawings, encode
from training import allocator, config, config_files
from training.config import Config
from training.data import batches, phantoms, scan
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
    for index, drawing in enumerate(drawings(IMAGES)):
        path = folder / "train" / (phantoms.NORMAL, phantoms.PNEUMONIA)[index % 2] / f"{index}.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(drawing, Kind(path.name, "JPEG", size)))
    choices = config.with_paths(config_files.load(config_files.PRESETS / "best.toml"), folder=folder, weights="none")
    records = scan.scan(choices.data).records
    kinds = Targets(records)
    network = backbone.move_to_device(backbone.build(choices.backbone), choices.fit.device)
    crops = batches.loader(Images(choices, records, kinds, batches.augmented(choices)), batches.balanced_sampler(records))
    plain = batches.loader(Images(choices, records, kinds, batches.plain(choices.backbone.image_size)))
    tuning = FineTuning(network, choices, len(crops), kinds.label_of_class)
    exported = export.build_graph(backbone.build(choices.backbone), choices, kinds)
    memory = in_memory(choices)
    found = {
        "training epoch": seconds(lambda data: tuning.run_epoch(data, "epoch"), crops, memory),
        "features, PyTorch": seconds(lambda data: validation.outputs(network, network.pooled, data, ""), plain, memory),
    }
    begin = time.monotonic()
    inference.novelty_features(exported, folder, records)
    found["features, exported graph"] = [time.monotonic() - begin]
    files = f"{size[0]} × {size[1]}"
    return [
        {"what": what, "files": files, "images_per_second": IMAGES / took, "network_share": alone[0] / took if alone else None}
        for what, (took, *alone) in found.items()
    ]


def seconds(work: Callable[[Loader], object], *sources: Loader) -> list[float]:
    found: list[list[float]] = [[] for _ in sources]
    for _ in range(REPEATS):
        for source, taken in zip(sources, found, strict=True):
            begin = time.monotonic()
            work(source)
            taken.append(time.monotonic() - begin)
    return [statistics.median(taken) for taken in found]


def in_memory(choices: Config) -> Loader:
    size = choices.backbone.image_size
    batch = (torch.randn(choices.fit.batch_size, 1, size, size), torch.arange(choices.fit.batch_size) % 2)
    return [batch] * (IMAGES // choices.fit.batch_size)  # type: ignore[return-value]  # of a loader, only iteration is used


def table(result: dict[str, Any]) -> str:  # Any: JSON
    rows = []
    for row in result["rows"]:
        share = "" if row["network_share"] is None else f"{min(row['network_share'], 1):.0%}"
        rows.append([row["what"], row["files"], f"{row['images_per_second']:.0f}", share])
    on = f"on {result['cpus']} CPUs ({result['processor']})"
    return markdown([on, "files", "images/s", "of the time in the network"], rows)


if __name__ == "__main__":
    main()
