"""`history.csv`: figures of each epoch of a fit, and which epoch is the best. Epoch 0 is the head on the frozen backbone."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from training.data import manifest
from training.data.manifest import DataError

FILE, NETWORKS = "history.csv", "networks.json"
VALIDATIONS = ("validation", "shifted validation", "both, altered", "otherwise")  # of FIGURES, in their order
HEADER = "\n".join(
    [
        " │ ".join([" " * 23, *(f"{name:20}" for name in VALIDATIONS), "matched"]),
        " │ ".join(["epoch  seconds    loss ", *[" AUROC  spec.  sens."] * len(VALIDATIONS), " AUROC"]),
    ]
)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """AUROC, and specificity and sensitivity where the two logits are equal, of four validations: `val` and `shifted` as in
    `splits`, and the images of both, each altered by one of `alterations.ALTERATIONS` (`altered`) or `UNSEEN` (`unseen`).

    `matched_auroc` is that of both under weights with which no property of the files tells the label (`report/matched.py`),
    where there are such weights."""

    epoch: int
    seconds: float
    train_loss: float | None = None  # in epoch 0
    val_auroc: float
    val_specificity: float
    val_sensitivity: float
    shifted_auroc: float
    shifted_specificity: float
    shifted_sensitivity: float
    altered_auroc: float
    altered_specificity: float
    altered_sensitivity: float
    unseen_auroc: float | None = None  # models of earlier versions lack it
    unseen_specificity: float | None = None
    unseen_sensitivity: float | None = None
    matched_auroc: float | None = None


class Networks(msgspec.Struct, frozen=True, kw_only=True):
    """`networks.json` in a run folder: FIGURES of each seed's network, before and after its head was turned; and name and seed
    of the one that is exported."""

    figures: dict[str, dict[str, float]]
    chosen: str
    seed: int


FIGURES = Row.__struct_fields__[3:]
CHOSEN_BY = ("shifted_auroc", "unseen_auroc", "matched_auroc")


def folder(run_dir: Path, seed: int) -> Path:
    return run_dir / f"seed-{seed}"


def read_networks(run_dir: Path) -> Networks:
    """Raises DataError if `fit` has not finished there, or if the file is damaged."""
    try:
        return msgspec.json.decode((run_dir / NETWORKS).read_bytes(), type=Networks)
    except (OSError, msgspec.DecodeError) as error:
        raise DataError(f"{run_dir / NETWORKS}: cannot be read ({error}); the stage «fit» writes it") from error


def write(rows: Sequence[Row], folder: Path) -> None:
    manifest.write_table(rows, folder / FILE)


def read(folder: Path) -> list[Row]:
    """Raises DataError if `fit` has not finished an epoch there, or if the file is damaged."""
    return manifest.read_table(folder / FILE, Row, "fit")


def figures_of(row: Row) -> dict[str, float]:
    return {name: value for name in FIGURES if (value := getattr(row, name)) is not None}


def score(figures: Mapping[str, float]) -> float:
    """The mean of the AUROCs that do not judge by what training imitates: on images from other parts of the series, on images
    with other alterations than those of training, and where no property of the files tells the label."""
    return statistics.fmean(figures[name] for name in CHOSEN_BY if name in figures)


def best(rows: Sequence[Row]) -> Row:
    return max(rows, key=lambda row: score(figures_of(row)))


def is_over(rows: Sequence[Row], epochs: int, patience: int) -> bool:
    return bool(rows) and (rows[-1].epoch >= epochs or rows[-1].epoch - best(rows).epoch >= patience)


def line(row: Row, is_best: bool) -> str:
    """A row for the terminal, below HEADER."""
    loss = "     –" if row.train_loss is None else f"{row.train_loss:6.3f}"
    texts = ["–" if (value := getattr(row, name)) is None else f"{value:.4f}" for name in FIGURES]
    validations = " │ ".join(" ".join(texts[start : start + 3]) for start in range(0, len(texts), 3))
    return f"{row.epoch:5}  {row.seconds:7.0f}  {loss}  │ {validations}{'  best' if is_best else ''}"
