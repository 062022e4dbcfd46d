"""The report's pictures, each drawn from `model.json` or a run's history alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from training.network.history import Row, best
from training.report.metrics import HISTOGRAM_BINS, predictive_values

Metrics: TypeAlias = dict[str, Any]  # Any: a split of model.json's `metrics`

BLUE, ORANGE, GREY, INK = "#0b6fa4", "#c2560c", "#8a939b", "#1d2429"  # two that the colour-blind can tell apart
SPLITS = {"val": (GREY, "validation"), "shifted": (ORANGE, "shifted validation"), "test": (BLUE, "test")}
STYLE: dict[str, Any] = {  # Any: as matplotlib takes it
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY, "axes.labelcolor": INK,
    "axes.grid": True, "grid.color": "#e4e8eb", "axes.axisbelow": True, "legend.frameon": False, "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.titlesize": 10, "lines.linewidth": 1.8, "savefig.dpi": 150,
    "text.parse_math": False,  # a label may hold a dollar sign
}  # fmt: skip
SIZE = (5.2, 3.9)  # inches


def draw(path: Path, paint: Callable[[Figure], None]) -> None:
    with rc_context(STYLE):  # type: ignore[arg-type]  # its keys are texts, too
        figure = Figure(figsize=SIZE, layout="constrained")
        FigureCanvasAgg(figure)
        paint(figure)
        figure.savefig(path, metadata={"Software": None})  # the same numbers give the same bytes


def roc(metrics: Metrics) -> Callable[[Figure], None]:
    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for split, (colour, name) in SPLITS.items():
            curve, auroc = metrics[split]["roc"], metrics[split]["auroc"]["value"]
            axes.plot(curve["false_positive_rate"], curve["sensitivity"], color=colour, label=f"{name}, AUROC {auroc:.3f}")
        curve = metrics["test"]["roc"]
        axes.fill_between(curve["false_positive_rate"], curve["low"], curve["high"], color=BLUE, alpha=0.15, linewidth=0)
        axes.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01))
        figure.legend(loc="outside upper left", ncols=2, fontsize=9)

    return paint


def precision_recall(metrics: Metrics) -> Callable[[Figure], None]:
    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for split, (colour, name) in SPLITS.items():
            curve, average = metrics[split]["precision_recall"], metrics[split]["average_precision"]
            axes.plot(curve["recall"], curve["precision"], color=colour, label=f"{name}, AP {average:.3f}")
        axes.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)", xlim=(0, 1.01), ylim=(0, 1.01))
        figure.legend(loc="outside upper left", ncols=2, fontsize=9)

    return paint


def reliability(curves: Mapping[str, tuple[str, Metrics]]) -> Callable[[Figure], None]:
    """By name: a colour, and what `metrics.calibration` gave."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        for name, (colour, measured) in curves.items():
            x, y = ([part[key] for part in measured["reliability"]] for key in ("probability", "observed"))
            label = f"{name}, ECE {measured['ece']:.3f}"
            axes.plot(x, y, color=colour, marker="o", markersize=4, linewidth=1, label=label)
        axes.set(xlabel="probability given", ylabel="share observed, at equal priors", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
        figure.legend(loc="outside upper left", ncols=1, fontsize=9)

    return paint


def confusion(counts: Mapping[str, int], negative: str, positive: str) -> Callable[[Figure], None]:
    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        table = np.array([[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]])
        shares = table / table.sum(1, keepdims=True)
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.2)
        for row in range(2):
            for column in range(2):
                colour = "white" if shares[row, column] > 0.6 else INK
                text = f"{table[row, column]:,}\n{shares[row, column]:.1%}"
                axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=13)
        axes.set_xticks([0, 1], [negative, positive])
        axes.set_yticks([0, 1], [negative, positive], rotation=90, va="center")
        axes.set(xlabel="called", ylabel="true")
        axes.grid(visible=False)

    return paint


def sweep(metrics: Metrics, thresholds: Mapping[str, float]) -> Callable[[Figure], None]:
    """Sensitivity and specificity at every threshold; the zone of uncertainty shaded."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.axvspan(
            thresholds["screening"], thresholds["rule_in"], color=GREY, alpha=0.15, linewidth=0, label="called uncertain"
        )
        axes.axvline(0.5, color=GREY, linewidth=1, linestyle="--")
        for split, style in (("shifted", ":"), ("test", "-")):
            curve = metrics[split]["sweep"]
            for rate, colour in (("sensitivity", ORANGE), ("specificity", BLUE)):
                name = f"{rate}, {SPLITS[split][1]}"
                axes.plot(curve["threshold"], curve[rate], color=colour, linestyle=style, label=name)
        axes.set(xlabel="threshold of the positive probability", xlim=(0, 1), ylim=(0.5, 1.005))
        figure.legend(loc="outside upper left", ncols=2, fontsize=9)

    return paint


def scores(metrics: Metrics, negative: str, positive: str) -> Callable[[Figure], None]:
    def paint(figure: Figure) -> None:
        panels: Sequence[Axes] = figure.subplots(2, 1, sharex=True)
        edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
        for axes, kind, label, colour in zip(
            panels, ("positive", "negative"), (positive, negative), (ORANGE, BLUE), strict=True
        ):
            axes.stairs(metrics["test"]["histogram"][kind], edges, fill=True, color=colour, alpha=0.8)
            axes.set(ylabel="images", title=f"truly {label}", yscale="symlog", ylim=(0, None))
            axes.yaxis.set_major_formatter(ScalarFormatter())
        panels[1].set(xlabel=f"probability of {positive}", xlim=(0, 1))

    return paint


def prevalence(metrics: Metrics) -> Callable[[Figure], None]:
    """By Bayes' rule from the test fold's sensitivity and specificity at 0.5."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        share = np.linspace(0.001, 0.999, 500)
        sensitivity, specificity = metrics["test"]["sensitivity"]["value"], metrics["test"]["specificity"]["value"]
        for values, colour, name in zip(
            predictive_values(sensitivity, specificity, share), (ORANGE, BLUE), ("PPV", "NPV"), strict=True
        ):
            axes.plot(share, values, color=colour, label=name)
        axes.set(xlabel="prevalence where it is used", xlim=(0, 1), ylim=(0, 1.01))
        figure.legend(loc="outside upper left", ncols=2, fontsize=9)

    return paint


def subgroups(groups: Mapping[str, Metrics]) -> Callable[[Figure], None]:
    """Share called right in each subgroup, with Wilson's interval."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        bottom_up = dict(reversed(list(groups.items())))
        for row, group in enumerate(bottom_up.values()):
            low, high = group["right"]["interval"]
            axes.plot([low, high], [row, row], color=BLUE, linewidth=5, alpha=0.35, solid_capstyle="butt")
            axes.plot(group["right"]["value"], row, "o", color=BLUE)
        axes.set_yticks(range(len(groups)), [f"{name}  ({group['images']:,})" for name, group in bottom_up.items()])
        axes.set(
            xlabel="called right at 0.5", xlim=(min(0.8, *(g["right"]["interval"][0] for g in groups.values())) - 0.01, 1.005)
        )

    return paint


def robustness(changes: Mapping[str, Metrics]) -> Callable[[Figure], None]:
    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        rows, bottom_up = range(len(changes)), dict(reversed(list(changes.items())))
        for offset, rate, colour in ((0.12, "sensitivity", ORANGE), (-0.12, "specificity", BLUE)):
            values = [change[rate]["value"] for change in bottom_up.values()]
            spans = np.array([change[rate]["interval"] for change in bottom_up.values()]).T
            axes.errorbar(
                values, [row + offset for row in rows], xerr=np.abs(spans - values), fmt="o", color=colour, markersize=4,
                linewidth=1, label=rate,
            )  # fmt: skip
        axes.set_yticks(rows, list(bottom_up))
        axes.set(xlabel="at 0.5, shifted validation", xlim=(None, 1.01))
        figure.legend(loc="outside upper left", ncols=2, fontsize=9)

    return paint


def stages(changes: Sequence[Metrics]) -> Callable[[Figure], None]:
    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.bar([stage["name"] for stage in changes], [stage["change"] for stage in changes], color=BLUE)
        axes.set(xlabel="stage, from the image to the head", ylabel="change")
        axes.grid(visible=False, axis="x")

    return paint


def history(rows: Sequence[Row]) -> Callable[[Figure], None]:
    """Loss, and AUROC of the validations, by epoch."""

    def paint(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.6))
        tuned = [row for row in rows if row.epoch]
        above.plot([row.epoch for row in tuned], [row.train_loss or 0 for row in tuned], color=INK)
        above.set(ylabel="training loss", ylim=(0, None))
        for split, (colour, name) in {**SPLITS, "altered": (INK, "both, altered")}.items():
            if split != "test":
                values = [getattr(row, f"{split}_auroc") for row in rows]
                below.plot([row.epoch for row in rows], values, color=colour, marker="o", markersize=3, label=name)
        below.axvline(best(rows).epoch, color=GREY, linewidth=1, linestyle="--", label="kept")
        below.set(ylabel="AUROC", xlabel="epoch (0: the head alone)", xticks=range(len(rows)))
        figure.legend(loc="outside upper left", ncols=4, fontsize=9)

    return paint
