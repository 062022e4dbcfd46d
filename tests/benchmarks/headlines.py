"""The headline table: our best variant against each peer, and what it takes by itself."""

import statistics
from collections.abc import Callable, Sequence

from tests.benchmarks import servers
from tests.benchmarks.images import BIG
from tests.benchmarks.results import Cell, Model, Result

MEGABYTE = 1e6
HEADLINE = (BIG.name, 8)  # image, connections
LONE = (BIG.name, 1)
NAMES = {"resnet18": "ResNet-18", "mobilenet_v2": "MobileNetV2"}


def headlines(result: Result) -> str:
    columns = {
        title(model): _headlines(model, result.cpus) for model in result.models if servers.OURS in model.servers.values()
    }
    names = dict.fromkeys(name for column in columns.values() for name in column)
    return markdown(["", *columns], [[name, *(column.get(name, "") for column in columns.values())] for name in names])


def _headlines(model: Model, cpus: int) -> dict[str, str]:
    ours = next(name for name, peer in model.servers.items() if peer == servers.OURS)
    peers = [name for name, peer in model.servers.items() if peer != servers.OURS]
    found = {f"requests/s at 8 connections, of {name}": f"{rate(model, ours) / rate(model, name):.1f} ×" for name in peers}
    if model.own:  # no server with this engine can exceed the rate at which decoding and inference keep all CPUs busy
        share = rate(model, ours) * model.own.work_cpu_ms / 1000 / cpus
        found["requests/s, of what decoding and inference alone would allow"] = f"{share:.0%}"
    if peers:
        original = next((name for name in peers if model.servers[name] == "original"), peers[0])
        alone = median(model, ours, LONE, p50) / median(model, original, LONE, p50)
        best = min(median(model, name, HEADLINE, p99) for name in peers)
        found[f"p50 of a lone client, of {original}"] = f"{alone:.2f} ×"
        found["p99 at 8 connections, of the best peer's"] = f"{median(model, ours, HEADLINE, p99) / best:.2f} ×"
    found["first answer after the process's start"] = f"{start(model, ours):.1f} s"
    found["RSS, at most"] = f"{max(cell.rss for cell in model.cells if cell.server == ours) / MEGABYTE:.0f} MB"
    if model.own:
        cpu = median(model, ours, HEADLINE, lambda cell: cell.cpu_ms) / model.own.work_cpu_ms
        one, two = (max(row.images_per_second for row in model.own.lanes if row.lanes == lanes) for lanes in (1, 2))
        found["CPU time a request, of decoding and inference alone"] = f"{cpu:.2f} ×"
        found["two lanes, of one"] = f"{two / one:.2f} ×"
    if model.engines:
        found["the int8 network on one thread, of OpenVINO's time"] = f"{model.engines.ours / model.engines.openvino:.2f} ×"
    return found


def title(model: Model) -> str:
    return NAMES.get(model.backbone, model.backbone)


def rate(model: Model, server: str, load: tuple[str, int] = HEADLINE) -> float:
    return median(model, server, load, lambda cell: cell.requests_per_second)


def median(model: Model, server: str, load: tuple[str, int], value: Callable[[Cell], float]) -> float:
    return statistics.median(map(value, cells_of(model, server, load)))


def p50(cell: Cell) -> float:
    return cell.load.p50_ms


def p99(cell: Cell) -> float:
    return cell.load.p99_ms


def start(model: Model, server: str) -> float:
    return statistics.median(each.seconds for each in model.starts if each.server == server)


def cells_of(model: Model, server: str, load: tuple[str, int]) -> list[Cell]:
    return [cell for cell in model.cells if (cell.server, cell.image, cell.connections) == (server, *load)]


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
