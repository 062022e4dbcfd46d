"""The report's plots; each function draws one on an empty figure, from `model.json` or a run's history alone."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeAlias

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import ScalarFormatter

from training.network.history import Row, best
from training.report.metrics import HISTOGRAM_BINS, predictive_values

Metrics: TypeAlias = dict[str, Any]  # Any: `metrics` of model.json, or a part of it
P = ParamSpec("P")

BLUE, ORANGE, GREY, INK = "#0b6fa4", "#c2560c", "#8a939b", "#1d2429"  # blue and orange can be told apart by the colour-blind
SPLITS = {"val": (GREY, "validation"), "shifted": (ORANGE, "shifted validation"), "test": (BLUE, "test")}
STYLE: dict[str, Any] = {  # Any: the type of matplotlib's parameters
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": GREY, "axes.labelcolor": INK,
    "axes.grid": True, "grid.color": "#e4e8eb", "axes.axisbelow": True, "legend.frameon": False, "text.color": INK,
    "xtick.color": INK, "ytick.color": INK, "axes.titlesize": 10, "lines.linewidth": 1.8, "savefig.dpi": 150,
    "text.parse_math": False,  # a label may hold a dollar sign
}  # fmt: skip
SIZE = (5.2, 3.9)  # inches


def draw(path: Path, plot: Callable[Concatenate[Figure, P], None], *data: P.args, **options: P.kwargs) -> None:
    """Saves the figure that `plot(figure, *data)` draws as a PNG. The same data give the same bytes."""
    with rc_context(STYLE):  # type: ignore[arg-type]  # matplotlib's type lists the keys one by one
        figure = Figure(figsize=SIZE, layout="constrained")
        plot(figure, *data, **options)
        figure.savefig(path, metadata={"Software": None})


def roc(figure: Figure, metrics: Metrics) -> None:
    axes = figure.add_subplot()
    for split, (colour, name) in SPLITS.items():
        curve, auroc = metrics[split]["roc"], metrics[split]["auroc"]["value"]
        axes.plot(curve["false_positive_rate"], curve["sensitivity"], color=colour, label=f"{name}, AUROC {auroc:.3f}")
    curve = metrics["test"]["roc"]
    axes.fill_between(curve["false_positive_rate"], curve["low"], curve["high"], color=BLUE, alpha=0.15, linewidth=0)
    axes.set(xlabel="1 − specificity", ylabel="sensitivity", xlim=(-0.01, 1), ylim=(0, 1.01))
    _legend(figure)


def precision_recall(figure: Figure, metrics: Metrics) -> None:
    axes = figure.add_subplot()
    for split, (colour, name) in SPLITS.items():
        curve, average = metrics[split]["precision_recall"], metrics[split]["average_precision"]
        axes.plot(curve["recall"], curve["precision"], color=colour, label=f"{name}, AP {average:.3f}")
    axes.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)", xlim=(0, 1.01), ylim=(0, 1.01))
    _legend(figure)


def reliability(figure: Figure, curves: Mapping[str, tuple[str, Metrics]]) -> None:
    """`curves`: by name, a colour and a result of `metrics.calibration`."""
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    for name, (colour, measured) in curves.items():
        x, y = ([part[key] for part in measured["reliability"]] for key in ("probability", "observed"))
        axes.plot(x, y, color=colour, marker="o", markersize=4, linewidth=1, label=f"{name}, ECE {measured['ece']:.3f}")
    axes.set(xlabel="predicted probability", ylabel="observed share, at equal priors", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    _legend(figure, columns=1)


def confusion(figure: Figure, counts: Mapping[str, int], negative: str, positive: str) -> None:
    axes = figure.add_subplot()
    table = np.array([[counts["tn"], counts["fp"]], [counts["fn"], counts["tp"]]])
    shares = table / table.sum(1, keepdims=True)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1.2)
    for (row, column), share in np.ndenumerate(shares):
        text = f"{table[row, column]:,}\n{share:.1%}"
        axes.text(column, row, text, ha="center", va="center", color="white" if share > 0.6 else INK, fontsize=13)
    axes.set_xticks([0, 1], [negative, positive])
    axes.set_yticks([0, 1], [negative, positive], rotation=90, va="center")
    axes.set(xlabel="predicted", ylabel="true")
    axes.grid(visible=False)


def sweep(figure: Figure, metrics: Metrics, thresholds: Mapping[str, float]) -> None:
    """Sensitivity and specificity at every threshold; the zone of uncertainty is shaded."""
    axes = figure.add_subplot()
    axes.axvspan(thresholds["screening"], thresholds["rule_in"], color=GREY, alpha=0.15, linewidth=0, label="uncertain")
    axes.axvline(0.5, color=GREY, linewidth=1, linestyle="--")
    for split, style in (("shifted", ":"), ("test", "-")):
        curve = metrics[split]["sweep"]
        for rate, colour in (("sensitivity", ORANGE), ("specificity", BLUE)):
            axes.plot(curve["threshold"], curve[rate], color=colour, linestyle=style, label=f"{rate}, {SPLITS[split][1]}")
    axes.set(xlabel="threshold of the positive probability", xlim=(0, 1), ylim=(0.5, 1.005))
    _legend(figure)


def scores(figure: Figure, metrics: Metrics, negative: str, positive: str) -> None:
    panels: Sequence[Axes] = figure.subplots(2, 1, sharex=True)
    edges = np.linspace(0, 1, HISTOGRAM_BINS + 1)
    for axes, kind, label, colour in zip(panels, ("positive", "negative"), (positive, negative), (ORANGE, BLUE), strict=True):
        axes.stairs(metrics["test"]["histogram"][kind], edges, fill=True, color=colour, alpha=0.8)
        axes.set(ylabel="images", title=f"true label {label}", yscale="symlog", ylim=(0, None))
        axes.yaxis.set_major_formatter(ScalarFormatter())
    panels[1].set(xlabel=f"probability of {positive}", xlim=(0, 1))


def prevalence(figure: Figure, metrics: Metrics) -> None:
    """PPV and NPV by Bayes' rule, from the test fold's sensitivity and specificity at 0.5."""
    axes = figure.add_subplot()
    share, test = np.linspace(0.001, 0.999, 500), metrics["test"]
    ppv, npv = predictive_values(test["sensitivity"]["value"], test["specificity"]["value"], share)
    axes.plot(share, ppv, color=ORANGE, label="PPV")
    axes.plot(share, npv, color=BLUE, label="NPV")
    axes.set(xlabel="prevalence where the model is used", xlim=(0, 1), ylim=(0, 1.01))
    _legend(figure)


def subgroups(figure: Figure, groups: Mapping[str, Metrics]) -> None:
    """Accuracy in each subgroup, with Wilson's interval."""
    axes = figure.add_subplot()
    bottom_up = dict(reversed(list(groups.items())))
    for row, group in enumerate(bottom_up.values()):
        low, high = group["right"]["interval"]
        axes.plot([low, high], [row, row], color=BLUE, linewidth=5, alpha=0.35, solid_capstyle="butt")
        axes.plot(group["right"]["value"], row, "o", color=BLUE)
    axes.set_yticks(range(len(groups)), [f"{name}  ({group['images']:,})" for name, group in bottom_up.items()])
    least = min(0.8, *(group["right"]["interval"][0] for group in groups.values()))
    axes.set(xlabel="accuracy at 0.5", xlim=(least - 0.01, 1.005))


def robustness(figure: Figure, changes: Mapping[str, Metrics]) -> None:
    axes = figure.add_subplot()
    rows, bottom_up = np.arange(len(changes)), dict(reversed(list(changes.items())))
    for offset, rate, colour in ((0.12, "sensitivity", ORANGE), (-0.12, "specificity", BLUE)):
        values = [change[rate]["value"] for change in bottom_up.values()]
        spans = np.array([change[rate]["interval"] for change in bottom_up.values()]).T
        errors = np.abs(spans - values)
        axes.errorbar(values, rows + offset, xerr=errors, fmt="o", color=colour, markersize=4, linewidth=1, label=rate)
    axes.set_yticks(rows, list(bottom_up))
    axes.set(xlabel="at 0.5, shifted validation", xlim=(None, 1.01))
    _legend(figure)


def stages(figure: Figure, changes: Sequence[Metrics]) -> None:
    axes = figure.add_subplot()
    axes.barh([stage["name"] for stage in changes], [stage["change"] for stage in changes], color=BLUE)
    axes.set(ylabel="stage, from the image to the head", xlabel="change")
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")


def history(figure: Figure, rows: Sequence[Row]) -> None:
    """Training loss, and AUROC on the validations, by epoch."""
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.6))
    tuned = [row for row in rows if row.epoch]
    above.plot([row.epoch for row in tuned], [row.train_loss or 0 for row in tuned], color=INK)
    above.set(ylabel="training loss", ylim=(0, None))
    for split, (colour, style, name) in {
        "val": (GREY, "-", "validation"),
        "shifted": (ORANGE, "-", "shifted validation"),
        "altered": (INK, "-", "both, altered"),
        "unseen": (BLUE, "-", "both, altered otherwise"),
        "matched": (INK, ":", "both, matched"),
    }.items():
        if getattr(rows[0], f"{split}_auroc") is not None:
            values = [getattr(row, f"{split}_auroc") for row in rows]
            below.plot([row.epoch for row in rows], values, style, color=colour, marker="o", markersize=3, label=name)
    below.axvline(best(rows).epoch, color=GREY, linewidth=1, linestyle="--", label="kept")
    below.set(ylabel="AUROC", xlabel="epoch (0: the head alone)", xticks=range(len(rows)))
    _legend(figure, columns=3)


def _legend(figure: Figure, columns: int = 2) -> None:
    figure.legend(loc="outside upper left", ncols=columns, fontsize=9)
