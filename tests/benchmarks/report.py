"""Writes serving.json as tables, a picture, and the README of this folder.

python -m tests.benchmarks.report [FOLDER]        without measuring again
"""

import json
import statistics
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from matplotlib.figure import Figure

from tests.benchmarks import results, servers, training
from tests.benchmarks.agreement import LIMIT
from tests.benchmarks.environments import PEERS
from tests.benchmarks.headlines import (
    HEADLINE,
    LONE,
    MEGABYTE,
    cells_of,
    headlines,
    markdown,
    median,
    p50,
    p99,
    rate,
    start,
    title,
)
from tests.benchmarks.images import BIG, PNG, SMALL
from tests.benchmarks.lanes import BATCH_SIZES, LANES
from tests.benchmarks.results import Model, Own, Result, Split
from training.report.plots import BLUE, GREY, INK, draw

README, PICTURE = "README.md", "serving.png"
TEMPLATE = Path(__file__).with_suffix(".md")
COLUMNS = [LONE, HEADLINE, (BIG.name, 32), (SMALL.name, 8), (PNG.name, 8)]


def write(result: Result, folder: Path) -> None:
    (folder / README).write_text(page(result), encoding="utf-8")
    draw(folder / PICTURE, bars(result))


def page(result: Result) -> str:
    versions = {name: version for packages in result.versions.values() for name, version in packages.items()}
    shares = [cell.load.cpu_share for model in result.models for cell in model.cells]
    return TEMPLATE.read_text(encoding="utf-8").format(
        command=f"`{result.command}`",
        date=result.date,
        cpus=result.cpus,
        processor=result.processor,
        headlines=headlines(result),
        picture=PICTURE,
        models=tables(result),
        big=BIG.name,
        small=SMALL.name,
        splits=splits(result),
        lanes=lanes(result),
        engines=engines(result),
        growth=growth(result),
        training=training.table(json.loads(training.RESULT.read_text())),
        client_share=f"{max(shares):.0%}",
        client_median=f"{statistics.median(shares):.0%}",
        wrk=result.versions["client"]["wrk"],
        rounds=result.rounds,
        seconds=result.seconds,
        limit=LIMIT,
        agreement=agreement(result),
        peers=peers(),
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
    )


def tables(result: Result) -> str:
    return "\n\n".join(f"## {title(model)}\n\n{table(model)}\n\n{loads(model)}" for model in result.models)


def table(model: Model) -> str:
    """All figures of the headline's load."""
    head = [f"{BIG.name}, 8 connections", "requests/s", "p50 ms", "p99 ms", "CPU ms", "RSS MB", "PSS MB", "start s"]
    return markdown(head, [[_strong(model, name), *_figures(model, name)] for name in model.servers])


def _figures(model: Model, server: str) -> list[str]:
    cells = cells_of(model, server, HEADLINE)
    return [
        spread(cell.requests_per_second for cell in cells),
        spread(map(p50, cells)),
        spread(map(p99, cells)),
        f"{statistics.median(cell.cpu_ms for cell in cells):.1f}",
        f"{max(cell.rss for cell in cells) / MEGABYTE:.0f}",
        f"{max(cell.pss for cell in cells) / MEGABYTE:.0f}",
        f"{start(model, server):.1f}",
    ]


def loads(model: Model) -> str:
    """Requests/s and p50 under every load."""
    rows = [
        [_strong(model, name), *(f"{rate(model, name, load):.0f} · {median(model, name, load, p50):.1f}" for load in COLUMNS)]
        for name in model.servers
    ]
    return markdown(["requests/s · p50 ms", *(f"{image}, {connections}" for image, connections in COLUMNS)], rows)


def splits(result: Result) -> str:
    rows = [
        [name, *(f"{getattr(own.split, part):.2f}" for part in own.split.__struct_fields__)]
        for name, own in _own(result).items()
    ]
    return markdown(["", *Split.__struct_fields__], rows)


def lanes(result: Result) -> str:
    rows, sizes = [], BATCH_SIZES
    for name, own in _own(result).items():
        rates = {(row.lanes, row.max_batch_size): row.images_per_second for row in own.lanes}
        rows += [[name, str(number), *(f"{rates[number, size]:.0f}" for size in sizes)] for number in LANES]
    return markdown(["", "lanes", *(f"batch {size}" for size in sizes)], rows)


def engines(result: Result) -> str:
    rows = [
        [title(model), f"{found.ours:.2f} ms", f"{found.openvino:.2f} ms", f"{found.ours / found.openvino:.2f}"]
        for model in result.models
        if (found := model.engines)
    ]
    return markdown(["", "ONNX Runtime", "OpenVINO", "ratio"], rows)


def growth(result: Result) -> str:
    rows = []
    for name, own in _own(result).items():
        marks = zip(own.growth.requests, own.growth.rss, strict=True)
        rows.append([name, *(f"{rss / MEGABYTE:.0f} MB after {count:,}" for count, rss in marks)])
    return markdown([f"RSS after so many requests, {SMALL.name}", "", ""], rows)


def agreement(result: Result) -> str:
    names = list(dict.fromkeys(name for model in result.models for name in model.agreement))
    rows = [
        [name, *(f"{model.agreement[name]:.4f}" if name in model.agreement else "" for model in result.models)]
        for name in names
    ]
    return markdown(["", *map(title, result.models)], rows)


def peers() -> str:
    return "\n\n".join(
        f"**`{path.name}`** – {servers.configuration(path.name)}" for path in sorted(PEERS.iterdir()) if path.is_dir()
    )


def bars(result: Result) -> Callable[[Figure], None]:
    def paint(figure: Figure) -> None:
        figure.set_size_inches(8.4, 2.9)
        panels = figure.subplots(1, len(result.models), squeeze=False)[0]
        for axes, model in zip(panels, result.models, strict=True):
            names = list(reversed(model.servers))
            rates = [rate(model, name) for name in names]
            colours = [BLUE if model.servers[name] == servers.OURS else GREY for name in names]
            axes.barh(range(len(names)), rates, color=colours, height=0.7)
            for row, value in enumerate(rates):
                axes.text(value, row, f" {value:.0f}", va="center", color=INK, fontsize=9)
            axes.set_yticks(range(len(names)), [name.removeprefix("the ") for name in names] if axes is panels[0] else [])
            axes.set(xlabel=f"requests/s, {title(model)}", xlim=(0, 1.15 * max(rates)))
            axes.grid(visible=False, axis="y")

    return paint


def spread(values: Iterable[float]) -> str:
    found = sorted(values)
    digits = 0 if found[-1] >= 100 else 1
    return f"{statistics.median(found):.{digits}f} ({found[0]:.{digits}f}–{found[-1]:.{digits}f})"


def _own(result: Result) -> dict[str, Own]:
    return {f"{title(model)}, {model.own.variant}": model.own for model in result.models if model.own}


def _strong(model: Model, name: str) -> str:
    return f"**{name}**" if model.servers[name] == servers.OURS else name


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else results.FOLDER
    write(results.read(folder), folder)


if __name__ == "__main__":
    main()
