"""Stage 7: writes the model card `model/README.md` and the report `model/report/`, with every figure from `model.json`."""

import csv
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from PIL import Image

from service.model.artefact import Description
from training.config import Config
from training.data import manifest, splits
from training.data.manifest import DataError
from training.graph import model_folder, seen
from training.graph.model_folder import FP32, INT8
from training.network import history
from training.network.history import Row
from training.report import int8_gate, limits, metrics, plots, template, zone

ABLATION = template.FOLDER.parent / "ablation.csv"  # written by `python -m training ablation`
REPORT = "report"
PREVALENCES = (0.01, 0.05, 0.1, 0.25, 0.5)

SPLITS = {"val": "validation", "shifted": "shifted validation", "test": "test", "strict_test": "strict test"}
ROWS = {
    "images": "images", "patients": "patients", "auroc": "AUROC", "average_precision": "average precision",
    "accuracy": "accuracy", "sensitivity": "sensitivity", "specificity": "specificity", "precision": "precision",
    "recall": "recall (balanced accuracy)", "f1": "F1", "mcc": "Matthews correlation", "ece": "ECE", "brier": "Brier score",
    "nll": "NLL", "uncertain": "called uncertain", "unusual": "called unusual or foreign", "foreign": "called foreign",
}  # fmt: skip
SEED_AUROCS = {
    "validation": "val_auroc", "shifted validation": "shifted_auroc", "both, altered": "altered_auroc",
    "both, altered otherwise": "unseen_auroc", "both, matched": "matched_auroc",
}  # fmt: skip
SECTIONS = {
    "summary": "Summary", "figures": "Figures", "thresholds": "Thresholds", "calibration": "Calibration",
    "subgroups": "Subgroups and robustness", "novelty": "Novelty", "heatmaps": "Heat-maps", "variants": "The int8 variant",
    "training": "Training", "ablation": "Why this recipe", "data": "Data",
}  # fmt: skip


def run(config: Config, run_dir: Path) -> None:
    """Raises DataError if `evaluate` has not run since the model was calibrated."""
    if "test" not in model_folder.description_of(run_dir / "model").metrics:
        raise DataError(f"{run_dir}: the model is not measured; run the stage «evaluate» first")
    write(run_dir / "model")
    records = manifest.read_manifest(run_dir / manifest.MANIFEST)
    seen.write(run_dir / "model", [r.sha256 for r in manifest.of_split(records, splits.TRAIN, splits.VAL, splits.SHIFTED)])


def write(folder: Path) -> None:
    """Writes card and report of the model in `folder`."""
    description = model_folder.description_of(folder)
    aside = folder / (REPORT + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    draw(description, aside)
    (aside / "report.css").write_bytes((template.FOLDER / "report.css").read_bytes())
    (aside / "index.html").write_text(render("report.html", description, sizes_of(aside)), encoding="utf-8")
    shutil.rmtree(folder / REPORT, ignore_errors=True)
    aside.rename(folder / REPORT)
    (folder / "README.md").write_text(render("card.md", description, {}), encoding="utf-8")
    print(folder / "README.md")
    print(folder / REPORT / "index.html")


def write_recalibrated(folder: Path) -> None:
    """Writes the card of a model that was recalibrated on a user's own images."""
    description = model_folder.description_of(folder)
    context = {
        "d": description,
        "m": description.metrics,
        "labels": " / ".join(description.labels),
        "zone": zone.sentence(description.thresholds, description.positive),
    }
    (folder / "README.md").write_text(template.fill("recalibrated.md", context), encoding="utf-8")


def render(name: str, description: Description, sizes: Mapping[str, tuple[int, int]]) -> str:
    """`sizes`: width and height of each picture in pixels, by its name."""
    return template.fill(name, {**describe(description), "sizes": sizes})


def sizes_of(folder: Path) -> dict[str, tuple[int, int]]:
    sizes = {}
    for path in folder.glob("*.png"):
        with Image.open(path) as picture:
            sizes[path.stem] = picture.size
    return sizes


def describe(description: Description) -> dict[str, Any]:
    """The values for the templates."""
    measured = description.metrics
    histories = histories_of(description)
    seeds = [rows[epoch] for rows, epoch in zip(histories, measured["fit"]["kept"], strict=True)]
    return {
        "d": description,
        "m": measured,
        "variant": description.variants[FP32],
        "quantised": description.variants.get(INT8),
        "gate": int8_gate.LIMITS,
        "thresholds": msgspec.structs.asdict(description.thresholds),
        "labels": " / ".join(description.labels),
        "negative": limits.negative(description),
        "splits": {split: name for split, name in SPLITS.items() if split in measured},
        "rows": {row: name for row, name in ROWS.items() if row != "patients" or not description.data["without_patient"]},
        "sections": SECTIONS,
        "sample": measured["heatmaps"]["images"],
        "seed_columns": history.FIGURES,
        "head_alone": histories[0][0],
        "seeds": seeds,
        "networks": networks_of(measured["fit"]),
        "shared": description.data["patients_shared_with_official_test"],
        "nameless": limits.nameless(description.data),
        "ages": limits.ages(description),
        "worth": worth(measured["test"]),
        "ablation": ablation() if limits.is_kermany(description) else [],
        "limits": limits.find(description),
        "zone": zone.sentence(description.thresholds, description.positive),
        "warnings": measured["calibration"].get("warnings", []),  # models of earlier versions lack them
        "taken": measured["calibration"].get("choice", {"taken": True})["taken"],
        "text": metrics.text,
        "share": lambda value: "–" if np.isnan(value) else f"{value:.3f}",
        "span": lambda interval: f"{interval[0]:.3f}–{interval[1]:.3f}",
        "elsewhere": measured.get("elsewhere", {}),
        "seed_aurocs": seed_aurocs(histories),
        "chosen": {name: chosen_by(histories, key) for name, key in seed_aurocs(histories).items()},
        "figure_of": lambda row, column: four_digits([getattr(row, column)], statistics.mean),
        "mean": lambda column: four_digits([getattr(row, column) for row in seeds], statistics.mean),
        "deviation": lambda column: four_digits([getattr(row, column) for row in seeds], statistics.stdev),
    }


def four_digits(values: Sequence[float | None], summary: Callable[[list[float]], float]) -> str:
    """`summary` of the values, or a dash where one is not known."""
    known = [value for value in values if value is not None]
    return f"{summary(known):.4f}" if len(known) == len(values) else "–"


def draw(description: Description, folder: Path) -> None:
    """Draws all pictures of the report."""
    measured, thresholds = description.metrics, msgspec.structs.asdict(description.thresholds)
    labels = (limits.negative(description), description.positive)
    colours = {"before": plots.ORANGE, "after": plots.BLUE}
    by_calibration = {when: (colour, measured["calibration"][when]) for when, colour in colours.items()}
    by_split = {name: (colour, measured[split]) for split, (colour, name) in plots.SPLITS.items()}
    for plot in (plots.roc, plots.precision_recall, plots.prevalence):
        plots.draw(folder / f"{plot.__name__}.png", plot, measured)
    plots.draw(folder / "confusion.png", plots.confusion, measured["test"]["at"]["balanced"], *labels)
    plots.draw(folder / "scores.png", plots.scores, measured, *labels)
    plots.draw(folder / "sweep.png", plots.sweep, measured, thresholds)
    plots.draw(folder / "calibration.png", plots.reliability, by_calibration)
    plots.draw(folder / "reliability.png", plots.reliability, by_split)
    plots.draw(folder / "subgroups.png", plots.subgroups, measured["subgroups"])
    plots.draw(folder / "robustness.png", plots.robustness, measured["robustness"])
    plots.draw(folder / "stages.png", plots.stages, measured["anatomy"]["stages"])
    for seed, rows in enumerate(histories_of(description)):
        plots.draw(folder / f"history-{seed}.png", plots.history, rows)


def worth(test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """PPV and NPV by prevalence: as measured, and with sensitivity and specificity at the lower ends of their intervals."""
    shares, sensitivity, specificity = np.array(PREVALENCES), test["sensitivity"], test["specificity"]
    values = metrics.predictive_values(sensitivity["value"], specificity["value"], shares)
    bounds = metrics.predictive_values(sensitivity["patient_interval"][0], specificity["patient_interval"][0], shares)
    rows = zip(PREVALENCES, np.transpose(values), np.transpose(bounds), strict=True)
    return [{"prevalence": share, "value": value, "bound": bound} for share, value, bound in rows]


def ablation() -> list[dict[str, str]]:
    return list(csv.DictReader(ABLATION.read_text(encoding="utf-8").splitlines()))


def histories_of(description: Description) -> list[list[Row]]:
    return msgspec.convert(description.metrics["fit"]["histories"], list[list[Row]])


def networks_of(fit: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The figures of the networks with turned heads. Those of the seeds stand in their own rows."""
    figures, seeds = fit.get("networks", {}).get("figures", {}), {f"seed {seed}" for seed in range(len(fit["histories"]))}
    return {name: values for name, values in figures.items() if name not in seeds}


def seed_aurocs(histories: Sequence[Sequence[Row]]) -> dict[str, str]:
    """Those of SEED_AUROCS that are known of all epochs."""
    return {
        name: key
        for name, key in SEED_AUROCS.items()
        if all(getattr(row, key) is not None for rows in histories for row in rows)
    }


def chosen_by(histories: Sequence[Sequence[Row]], key: str) -> tuple[int, Row]:
    """The seed and the epoch with the greatest figure `key`."""
    every = [(seed, row) for seed, rows in enumerate(histories) for row in rows]
    return max(every, key=lambda each: float(getattr(each[1], key)))
