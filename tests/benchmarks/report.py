"""Writes serving.json as tables, a picture, and the README of this folder.
python -m tests.benchmarks.report [FOLDER]        without measuring again"""

import ast
import json
import statistics
import sys
from operator import attrgetter
from pathlib import Path

from matplotlib.figure import Figure

from tests.benchmarks import agreement, headlines, images, own, results, servers, training
from tests.benchmarks.headlines import HEADLINE, LONE, MEGABYTE, P50, cells_of, markdown, median, rate, start, title
from tests.benchmarks.images import BIG, PNG, SMALL
from tests.benchmarks.results import Model, Result
from training.report.plots import BLUE, GREY, INK, draw

README, PICTURE = "README.md", "serving.png"
TEMPLATE = Path(__file__).with_suffix(".md")
COLUMNS = [LONE, HEADLINE, (BIG.name, 32), (SMALL.name, 8), (PNG.name, 8)]


def write(result: Result, folder: Path) -> None:
    (folder / README).write_text(page(result), encoding="utf-8")
    draw(folder / PICTURE, bars, result)


def page(result: Result) -> str:
    shares = [cell.load.cpu_share for model in result.models for cell in model.cells]
    versions = {name: version for packages in result.versions.values() for name, version in packages.items()}
    return TEMPLATE.read_text(encoding="utf-8").format(
        result=result,
        images=images,
        limit=agreement.LIMIT,
        client_share=f"{max(shares):.0%}",
        client_median=f"{statistics.median(shares):.0%}",
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
        training=training.table(json.loads(training.RESULT.read_text())),
        **{table.__name__: table(result) for table in (headlines.headlines, models, splits, lanes, growth, differences, peers)},
    )


def models(result: Result) -> str:
    return "\n\n".join(f"## {title(model)}\n\n{table(model)}\n\n{loads(model)}" for model in result.models)


def table(model: Model) -> str:
    rows = []
    for name in model.servers:
        cells = cells_of(model, name, HEADLINE)
        cpu = median(model, name, HEADLINE, headlines.CPU_MS)
        rss, pss = (f"{max(map(attrgetter(kind), cells)) / MEGABYTE:.0f}" for kind in ("rss", "pss"))
        spreads = [spread([value(cell) for cell in cells]) for value in (headlines.RATE, P50, headlines.P99)]
        rows.append([_strong(model, name), *spreads, f"{cpu:.1f}", rss, pss, f"{start(model, name):.1f}"])
    head = [f"{BIG.name}, 8 connections", "requests/s", "p50 ms", "p99 ms", "CPU ms", "RSS MB", "PSS MB", "start s"]
    return markdown(head, rows)


def loads(model: Model) -> str:
    rows = [
        [_strong(model, name), *(f"{rate(model, name, load):.0f} · {median(model, name, load, P50):.1f}" for load in COLUMNS)]
        for name in model.servers
    ]
    return markdown(["requests/s · p50 ms", *(f"{image}, {connections}" for image, connections in COLUMNS)], rows)


def splits(result: Result) -> str:
    parts = list(result.models[0].own.split)
    rows = [[_titled(model), *(f"{model.own.split[part]:.2f}" for part in parts)] for model in result.models]
    return markdown(["", *parts], rows)


def lanes(result: Result) -> str:
    rows = []
    for model in result.models:
        rates = {(row.lanes, row.max_batch_size): f"{row.images_per_second:.0f}" for row in model.own.lanes}
        rows += [[_titled(model), str(number), *(rates[number, size] for size in own.BATCH_SIZES)] for number in own.LANES]
    return markdown(["", "lanes", *(f"batch {size}" for size in own.BATCH_SIZES)], rows)


def growth(result: Result) -> str:
    rows = []
    for model in result.models:
        marks = zip(model.own.growth.requests, model.own.growth.rss, strict=True)
        rows.append([_titled(model), *(f"{rss / MEGABYTE:.0f} MB after {count:,}" for count, rss in marks)])
    return markdown([f"RSS after so many requests, {SMALL.name}", "", ""], rows)


def differences(result: Result) -> str:
    names = result.models[0].agreement
    rows = [[name, *(f"{model.agreement[name]:.4f}" for model in result.models)] for name in names]
    return markdown(["", *map(title, result.models)], rows)


def peers(result: Result) -> str:
    names = sorted(result.versions.keys() - {"client"})
    modules = {name: ast.parse((servers.PEERS / name / "server.py").read_text()) for name in names}
    return "\n\n".join(f"**`{name}`** – {ast.get_docstring(module)}" for name, module in modules.items())


def bars(figure: Figure, result: Result) -> None:
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


def spread(values: list[float]) -> str:
    digits = 0 if max(values) >= 100 else 1
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f}–{max(values):.{digits}f})"


def _titled(model: Model) -> str:
    return f"{title(model)}, {model.own.variant}"


def _strong(model: Model, name: str) -> str:
    return f"**{name}**" if model.servers[name] == servers.OURS else name


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else results.FOLDER
    write(results.read(folder), folder)
