"""Writes serving.KIND.json of each kind of machine as tables, a picture, and the README of this folder.
python -m tests.benchmarks.report [FOLDER]        without measuring again"""

import ast
import json
import math
import statistics
import sys
from operator import attrgetter
from pathlib import Path

from matplotlib.figure import Figure

from service import machine
from tests.benchmarks import agreement, headlines, images, own, results, servers, training
from tests.benchmarks.headlines import HEADLINE, LONE, MEGABYTE, P50, cells_of, markdown, median, rate, start, title
from tests.benchmarks.images import BIG, PNG, REAL, SMALL
from tests.benchmarks.results import Model, Result
from training.report.plots import BLUE, GREY, INK, draw

README, PICTURE = "README.md", "serving.{}.png"
TEMPLATE, OF_MACHINE = Path(__file__).with_suffix(".md"), Path(__file__).with_name("machine.md")
COLUMNS = [LONE, HEADLINE, (BIG.name, 32), (REAL.name, 8), (SMALL.name, 8), (PNG.name, 8)]
MORE_CPUS = (2, 8, 16, 32, 64)


def write(found: dict[str, Result], folder: Path) -> None:
    """`found`: results by kind of machine."""
    (folder / README).write_text(page(found), encoding="utf-8")
    for kind, result in found.items():
        draw(folder / PICTURE.format(kind), bars, result)


def page(found: dict[str, Result]) -> str:
    return TEMPLATE.read_text(encoding="utf-8").format(
        machines="\n".join(of_machine(kind, result) for kind, result in found.items()).rstrip(),
        limit=agreement.LIMIT,
        training=training.table(json.loads(training.RESULT.read_text())),
        peers=peers(),
    )


def of_machine(kind: str, result: Result) -> str:
    shares = [cell.load.cpu_share for model in result.models for cell in model.cells]
    versions = {name: version for packages in result.versions.values() for name, version in packages.items()}
    failures = [f"{title(model)}, {failure}" for model in result.models for failure in model.failures]
    tables = (headlines.headlines, models, splits, lanes, processes, more_cpus, growth, differences)
    return OF_MACHINE.read_text(encoding="utf-8").format(
        kind=kind,
        result=result,
        images=images,
        instructions="".join(f", {name}" for name in result.instructions),
        client_share=f"{max(shares):.0%}",
        client_median=f"{statistics.median(shares):.0%}",
        failures="; ".join(failures) or "No request failed",
        versions=", ".join(f"{name} {version}" for name, version in versions.items()),
        **{table.__name__: table(result) for table in tables},
    )


def models(result: Result) -> str:
    return "\n\n".join(f"### {title(model)}\n\n{table(model)}\n\n{loads(model)}" for model in result.models)


def table(model: Model) -> str:
    rows = []
    for name in model.servers:
        cells = cells_of(model, name, HEADLINE)
        if not cells:
            rows.append([_strong(model, name), "failed", *[""] * 7])
            continue
        cpu = median(model, name, HEADLINE, headlines.CPU_MS)
        rss, pss = (f"{max(map(attrgetter(kind), cells)) / MEGABYTE:.0f}" for kind in ("rss", "pss"))
        spreads = [spread([value(cell) for cell in cells]) for value in (headlines.RATE, P50, headlines.P99)]
        a_core = f"{1000 / cpu:.0f}"
        rows.append([_strong(model, name), *spreads, f"{cpu:.1f}", a_core, rss, pss, f"{start(model, name):.1f}"])
    head = [f"{BIG.name}, 8 connections", "requests/s", "p50 ms", "p99 ms", "CPU ms", "a core", "RSS MB", "PSS MB", "start s"]
    return markdown(head, rows)


def loads(model: Model) -> str:
    rows = [[_strong(model, name), *(_rate_and_p50(model, name, load) for load in COLUMNS)] for name in model.servers]
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


def processes(result: Result) -> str:
    rows = []
    for model in result.models:
        one, *others = model.own.processes
        for each in (one, *others):
            share = "" if each is one else f" ({each.requests_per_second / one.requests_per_second:.2f} ×)"
            rate, pss = f"{each.requests_per_second:.0f}{share}", f"{each.pss / MEGABYTE:.0f}"
            rows.append([_titled(model), str(each.processes), rate, f"{each.p99_ms:.1f}", pss])
    return markdown(["", "processes", "requests/s", "p99 ms", "PSS MB"], rows)


def more_cpus(result: Result) -> str:
    rows = []
    for model in result.models:
        ours = next(iter(model.servers))
        cpu_ms = median(model, ours, (SMALL.name, 8), headlines.CPU_MS)
        one, two = (each.pss / MEGABYTE for each in model.own.processes)
        for cpus in MORE_CPUS:
            count = machine.processes_for(cpus)
            limits = [f"{1000 * cpus / cpu_ms:.0f}", f"{1000 * count / model.own.event_loop_ms:.0f}"]
            memory = f"{one + (count - 1) * (two - one):.0f}"
            rows.append([_titled(model), str(cpus), str(count), str(math.ceil(cpus / count)), *limits, memory])
    head = ["", "CPUs", "processes", "lanes of each", "requests/s that the CPUs allow", "that the event loops allow", "PSS MB"]
    return markdown(head, rows)


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


def peers() -> str:
    names = sorted(path.parent.name for path in servers.PEERS.glob("*/server.py"))
    modules = {name: ast.parse((servers.PEERS / name / "server.py").read_text()) for name in names}
    return "\n\n".join(f"**`{name}`** – {ast.get_docstring(module)}" for name, module in modules.items())


def bars(figure: Figure, result: Result) -> None:
    figure.set_size_inches(8.4, 2.9)
    panels = figure.subplots(1, len(result.models), squeeze=False)[0]
    for axes, model in zip(panels, result.models, strict=True):
        names = list(reversed(model.servers))
        rates = [rate(model, name) if cells_of(model, name, HEADLINE) else 0.0 for name in names]
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


def _rate_and_p50(model: Model, name: str, load: tuple[str, int]) -> str:
    return f"{rate(model, name, load):.0f} · {median(model, name, load, P50):.1f}" if cells_of(model, name, load) else "failed"


def _titled(model: Model) -> str:
    return f"{title(model)}, {model.own.variant}"


def _strong(model: Model, name: str) -> str:
    return f"**{name}**" if model.servers[name] == servers.OURS else name


if __name__ == "__main__":
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else results.FOLDER
    write(results.read_all(folder), folder)
