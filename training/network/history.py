"""`history.csv`: figures of each epoch of a fit, and which epoch is the best. Epoch 0 is the head on the frozen backbone."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from training.data import manifest

FILE = "history.csv"
HEADER = (
    "                        │ validation           │ shifted validation   │ both, altered\n"
    "epoch  seconds    loss  │  AUROC  spec.  sens. │  AUROC  spec.  sens. │  AUROC  spec.  sens."
)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """AUROC, and specificity and sensitivity where the two logits are equal, of three validations: `val` and `shifted` as in
    `splits`, and `altered`: the images of both, each altered by one of `alterations.ALTERATIONS`."""

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


FIGURES = Row.__struct_fields__[3:]


def folder(run_dir: Path, seed: int) -> Path:
    return run_dir / f"seed-{seed}"


def write(rows: Sequence[Row], folder: Path) -> None:
    manifest.write_table(rows, folder / FILE)


def read(folder: Path) -> list[Row]:
    """Raises DataError if `fit` has not finished an epoch there, or if the file is damaged."""
    return manifest.read_table(folder / FILE, Row, "fit")


def best(rows: Sequence[Row]) -> Row:
    """The epoch with the greatest AUROC on altered images; on the other two nearly all epochs are equally good."""
    return max(rows, key=lambda row: row.altered_auroc)


def best_seed(histories: Sequence[Sequence[Row]]) -> int:
    return max(range(len(histories)), key=lambda seed: best(histories[seed]).altered_auroc)


def is_over(rows: Sequence[Row], epochs: int, patience: int) -> bool:
    return bool(rows) and (rows[-1].epoch >= epochs or rows[-1].epoch - best(rows).epoch >= patience)


def line(row: Row, is_best: bool) -> str:
    """A row for the terminal, below HEADER."""
    loss = "     –" if row.train_loss is None else f"{row.train_loss:6.3f}"
    texts = [f"{getattr(row, name):.4f}" for name in FIGURES]
    validations = " │ ".join(" ".join(texts[start : start + 3]) for start in (0, 3, 6))
    return f"{row.epoch:5}  {row.seconds:7.0f}  {loss}  │ {validations}{'  best' if is_best else ''}"
