"""The headline table: our best variant against each peer, and what it takes by itself."""

import statistics
from collections.abc import Callable, Sequence
from operator import attrgetter

from tests.benchmarks import servers
from tests.benchmarks.images import BIG
from tests.benchmarks.results import Cell, Model, Result

MEGABYTE = 1e6
HEADLINE, LONE = (BIG.name, 8), (BIG.name, 1)  # image, connections
NAMES = {"resnet18": "ResNet-18", "mobilenet_v2": "MobileNetV2", "tf_efficientnet_lite0": "EfficientNet-Lite0"}
RATE, P50, P99, CPU_MS = map(attrgetter, ("requests_per_second", "load.p50_ms", "load.p99_ms", "cpu_ms"))


def headlines(result: Result) -> str:
    columns = [_headlines(model, result.cpus) for model in result.models]
    return markdown(
        ["", *map(title, result.models)], [[name, *(column.get(name, "failed") for column in columns)] for name in columns[0]]
    )


def _headlines(model: Model, cpus: int) -> dict[str, str]:
    """No server with this engine can exceed the rate at which decoding and inference keep all CPUs busy (`allowed`)."""
    ours, named = next(iter(model.servers)), [name for name, peer in model.servers.items() if peer != servers.OURS]
    peers = [name for name in named if cells_of(model, name, HEADLINE) and cells_of(model, name, LONE)]
    original, work = peers[0], model.own.work_cpu_ms
    allowed = 1000 * cpus / work
    alone = median(model, ours, LONE, P50) / median(model, original, LONE, P50)
    least = min(median(model, name, HEADLINE, P99) for name in peers)
    rss = max(cell.rss for cell in model.cells if cell.server == ours)
    one, two = (max(row.images_per_second for row in model.own.lanes if row.lanes == lanes) for lanes in (1, 2))
    return {
        **{f"requests/s at 8 connections, of {name}": f"{rate(model, ours) / rate(model, name):.1f} ×" for name in peers},
        "requests/s, of what decoding and inference alone would allow": f"{rate(model, ours) / allowed:.0%}",
        f"p50 of a lone client, of {original}": f"{alone:.2f} ×",
        "p99 at 8 connections, of the best peer's": f"{median(model, ours, HEADLINE, P99) / least:.2f} ×",
        "first answer after the process's start": f"{start(model, ours):.1f} s",
        "RSS, at most": f"{rss / MEGABYTE:.0f} MB",
        "CPU time a request, of decoding and inference alone": f"{median(model, ours, HEADLINE, CPU_MS) / work:.2f} ×",
        "CPU time of the event loop's thread a request, JPEG 224 × 224": f"{model.own.event_loop_ms:.2f} ms",
        "two lanes, of one": f"{two / one:.2f} ×",
    }


def title(model: Model) -> str:
    return NAMES.get(model.backbone, model.backbone)


def rate(model: Model, server: str, load: tuple[str, int] = HEADLINE) -> float:
    return median(model, server, load, RATE)


def median(model: Model, server: str, load: tuple[str, int], value: Callable[[Cell], float]) -> float:
    return statistics.median(map(value, cells_of(model, server, load)))


def start(model: Model, server: str) -> float:
    return statistics.median(each.seconds for each in model.starts if each.server == server)


def cells_of(model: Model, server: str, load: tuple[str, int]) -> list[Cell]:
    return [cell for cell in model.cells if (cell.server, cell.image, cell.connections) == (server, *load)]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *rows])
