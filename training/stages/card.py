"""Stage 7: the model card `model/README.md` and `model/report/`, every figure from `model.json`.

python -m training card --run runs/1
"""

import shutil
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from service.model.artefact import Description
from training.config import Config
from training.data.manifest import DataError
from training.graph import gate, model_folder
from training.graph.model_folder import FP32, INT8
from training.network import history
from training.network.history import Row
from training.report import metrics, plots
from training.tools import ablation

TEMPLATES = Path(__file__).parent.parent / "report" / "templates"
REPORT = "report"
SMALL = 512  # pixels; a radiograph of full size has some 2,000 on its longer side
PREVALENCES = (0.01, 0.05, 0.1, 0.25, 0.5)

SPLITS = {"val": "validation", "shifted": "shifted validation", "test": "test", "strict_test": "strict test"}
ROWS = {
    "images": "images", "patients": "patients", "auroc": "AUROC", "average_precision": "average precision",
    "accuracy": "accuracy", "sensitivity": "sensitivity", "specificity": "specificity", "precision": "precision",
    "recall": "recall (balanced accuracy)", "f1": "F1", "mcc": "Matthews correlation", "ece": "ECE", "brier": "Brier score",
    "nll": "NLL", "uncertain": "called uncertain", "unusual": "called unusual or foreign", "foreign": "called foreign",
}  # fmt: skip
SECTIONS = {
    "summary": "In short", "figures": "Figures", "thresholds": "Thresholds", "calibration": "Calibration",
    "subgroups": "Subgroups and robustness", "novelty": "Odd images", "heatmaps": "Heat-maps", "variants": "The int8 variant",
    "training": "Training",
    "ablation": "Why this recipe", "data": "Data",
}  # fmt: skip

LIMITS = (
    "A model of one data set learns its habits: published ones, trained on the Kermany chest X-rays (one hospital, children of "
    "one to five years), fell to an AUROC of 0.54 on children from elsewhere (Xin, Li, Yi, Emerg Radiol 2021, "
    "doi:10.1007/s10140-021-01954-x). Expect the same here.",
    "Figures on held-out parts of the same archive, as those here, say nothing about another archive, adults or other devices.",
    "It knows two labels. What is neither, it calls one of them all the same.",
    "The heat-map shows where evidence came from, not where a lesion is.",
    "Novelty knows images that differ from the training images as a whole; it does not find rare disease.",
)


def run(config: Config, run_dir: Path) -> None:
    """Raises DataError: `evaluate` has not run since the model was calibrated."""
    folder = run_dir / "model"
    description = model_folder.load(folder).artefact.description
    if "test" not in description.metrics:
        raise DataError(f"{run_dir}: the model is not measured; run the stage «evaluate» first")
    aside = folder / (REPORT + ".tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    draw(description, aside)
    (aside / "report.css").write_bytes((TEMPLATES / "report.css").read_bytes())
    (aside / "index.html").write_text(render("report.html", description, sizes_of(aside)), encoding="utf-8")
    shutil.rmtree(folder / REPORT, ignore_errors=True)
    aside.rename(folder / REPORT)
    (folder / "README.md").write_text(render("card.md", description, {}), encoding="utf-8")
    print(folder / "README.md")
    print(folder / REPORT / "index.html")


def write_recalibrated(folder: Path) -> None:
    """The card of a model that was calibrated on images it was not trained for."""
    description = model_folder.load(folder).artefact.description
    context = {"d": description, "m": description.metrics, "labels": " / ".join(description.labels)}
    (folder / "README.md").write_text(_fill("recalibrated.md", context), encoding="utf-8")


def render(template: str, description: Description, sizes: Mapping[str, tuple[int, int]]) -> str:
    """`sizes`: width and height of each picture, by its name."""
    return _fill(template, {**describe(description), "sizes": sizes})


def _fill(template: str, context: Mapping[str, Any]) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, autoescape=template.endswith(".html")
    )
    return environment.get_template(template).render(context) + "\n"


def sizes_of(folder: Path) -> dict[str, tuple[int, int]]:
    sizes = {}
    for path in folder.glob("*.png"):
        with Image.open(path) as picture:
            sizes[path.stem] = picture.size
    return sizes


def describe(description: Description) -> dict[str, Any]:
    """What the templates take."""
    measured = description.metrics
    histories = histories_of(description)
    seeds = [rows[epoch] for rows, epoch in zip(histories, measured["fit"]["kept"], strict=True)]

    def of_seeds(column: str) -> list[float]:
        return [getattr(row, column) for row in seeds]

    return {
        "d": description,
        "m": measured,
        "variant": description.variants[FP32],
        "quantised": description.variants.get(INT8),
        "gate": gate.LIMITS,
        "thresholds": msgspec.structs.asdict(description.thresholds),
        "labels": " / ".join(description.labels),
        "negative": negative(description),
        "splits": {split: name for split, name in SPLITS.items() if split in measured},
        "rows": ROWS,
        "sections": SECTIONS,
        "sample": measured["heatmaps"]["images"],
        "seed_columns": history.FIGURES,
        "head_alone": histories[0][0],
        "seeds": seeds,
        "shared": description.data["patients_shared_with_official_test"],
        "worth": worth(measured["test"]),
        "ablation": ablation.read(),
        "limits": [*LIMITS, *small_copies(description.data["sizes"])],
        "text": metrics.text,
        "share": lambda value: "–" if np.isnan(value) else f"{value:.3f}",
        "span": lambda interval: f"{interval[0]:.3f}–{interval[1]:.3f}",
        "mean": lambda column: statistics.mean(of_seeds(column)),
        "deviation": lambda column: statistics.stdev(of_seeds(column)),
    }


def draw(description: Description, folder: Path) -> None:
    measured, thresholds = description.metrics, msgspec.structs.asdict(description.thresholds)
    labels = (negative(description), description.positive)
    pictures = {
        "roc": plots.roc(measured),
        "precision_recall": plots.precision_recall(measured),
        "confusion": plots.confusion(measured["test"]["at"]["balanced"], *labels),
        "scores": plots.scores(measured, *labels),
        "sweep": plots.sweep(measured, thresholds),
        "prevalence": plots.prevalence(measured),
        "calibration": plots.reliability(
            {
                "before": (plots.ORANGE, measured["calibration"]["before"]),
                "after": (plots.BLUE, measured["calibration"]["after"]),
            }
        ),
        "reliability": plots.reliability({name: (colour, measured[split]) for split, (colour, name) in plots.SPLITS.items()}),
        "subgroups": plots.subgroups(measured["subgroups"]),
        "robustness": plots.robustness(measured["robustness"]),
        "stages": plots.stages(measured["anatomy"]["stages"]),
        **{f"history-{seed}": plots.history(rows) for seed, rows in enumerate(histories_of(description))},
    }
    for name, paint in pictures.items():
        plots.draw(folder / f"{name}.png", paint)


def worth(test: Mapping[str, Any]) -> list[dict[str, Any]]:
    """PPV and NPV by prevalence, and with sensitivity and specificity at the worse ends of their intervals."""
    shares = np.array(PREVALENCES)
    values = metrics.predictive_values(_value(test["sensitivity"]), _value(test["specificity"]), shares)
    bounds = metrics.predictive_values(_lower_end(test["sensitivity"]), _lower_end(test["specificity"]), shares)
    return [
        {"prevalence": share, "value": value, "bound": bound}
        for share, value, bound in zip(PREVALENCES, zip(*values, strict=True), zip(*bounds, strict=True), strict=True)
    ]


def small_copies(sizes: Mapping[str, Mapping[str, Sequence[float]]]) -> list[str]:
    """A limit more, if the images were no radiographs of full size. `sizes`: as `audit.summarise` gives them."""
    width, height = (max(sides[side][-1] for sides in sizes.values()) for side in ("width", "height"))
    if max(width, height) > SMALL:
        return []
    return [
        f"It was fitted and measured on copies of at most {width:g} × {height:g} pixels: on full-size radiographs it was not."
    ]


def histories_of(description: Description) -> list[list[Row]]:
    return msgspec.convert(description.metrics["fit"]["histories"], list[list[Row]])


def negative(description: Description) -> str:
    return next(label for label in description.labels if label != description.positive)


def _value(rate: Mapping[str, Any]) -> float:
    return float(rate["value"])


def _lower_end(rate: Mapping[str, Any]) -> float:
    return float(rate["patient_interval"][0])
