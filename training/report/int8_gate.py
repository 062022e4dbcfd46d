"""Accuracy gate of the int8 variant: it is shipped only if its answers stay close to those of fp32.

A loss of AUROC or accuracy misses the gate only where its 95 % interval over patients lies beyond the limit: one swapped pair
of twenty images shows no loss. The other figures are means over images, which tell a bad variant from few of them too."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
import numpy as np
import onnx
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from service.model.classifier import Outputs
from training.data.manifest import Record
from training.data.splits import TEST
from training.graph import holdout, inference, model_folder
from training.graph.model_folder import FP32, INT8
from training.report.bootstrap import Bools, bootstrap, interval

# The largest allowed value of a loss or shift, the smallest allowed value of a correlation.
LIMITS = {
    "auroc_loss": 0.003, "accuracy_loss": 0.005, "mean_probability_shift": 0.01, "heatmap_correlation": 0.98,
    "novelty_rank_correlation": 0.98,
}  # fmt: skip

BY_INTERVAL = ("auroc_loss", "accuracy_loss")

Figures: TypeAlias = dict[str, float]  # by the names of LIMITS; of BY_INTERVAL also the interval's lower end, as `…_at_least`


def check(folder: Path, images: Path, splits: Mapping[str, Sequence[Record]]) -> None:
    """Measures int8 on each of `splits` and writes the figures into `model.json`. Removes int8 if it misses a limit."""
    if INT8 in model_folder.description_of(folder).variants:
        _keep_or_remove(folder, {split: against_fp32(folder, images, records) for split, records in splits.items()})


def confirm(run_dir: Path, images: Path, test: Sequence[Record]) -> None:
    """As `check`, once on the test fold after everything is locked. Figures that the same bits gave before stand."""
    folder = run_dir / "model"
    if INT8 in model_folder.description_of(folder).variants:
        artefact = model_folder.load(folder, INT8).artefact
        figures = holdout.read_once(run_dir, artefact, len(test), lambda: against_fp32(folder, images, test), Figures)
        _keep_or_remove(folder, {TEST: figures})


def against_fp32(folder: Path, images: Path, records: Sequence[Record]) -> Figures:
    reference, found = (inference.classify(model_folder.load(folder, name), images, records) for name in (FP32, INT8))
    description = model_folder.description_of(folder)
    truth, positive = inference.truth_of(records, description), description.labels.index(description.positive)
    return compare(truth, reference, found, positive, [record.patient for record in records])


def compare(truth: Bools, reference: Outputs, found: Outputs, positive: int, patients: Sequence[str]) -> Figures:
    """`truth` [N]: whether the image has the positive label; `positive`: its output column. A loss below 0 is a gain."""
    before, after = (outputs.probabilities[:, positive].astype(np.float64) for outputs in (reference, found))
    maps = zip(*(outputs.heatmaps.reshape(len(truth), -1) for outputs in (reference, found)), strict=True)
    draws, draws_too = (bootstrap(truth, probability, patients) for probability in (before, after))  # of the same patients
    return {
        "auroc_loss_at_least": interval(draws.auroc - draws_too.auroc)[0],
        "accuracy_loss_at_least": interval(draws.accuracy - draws_too.accuracy)[0],
        "auroc_loss": float(roc_auc_score(truth, before) - roc_auc_score(truth, after)),
        "accuracy_loss": float(((before >= 0.5) == truth).mean() - ((after >= 0.5) == truth).mean()),
        "mean_probability_shift": float(np.abs(before - after).mean()),
        "heatmap_correlation": float(np.mean([np.corrcoef(first, second)[0, 1] for first, second in maps])),
        "novelty_rank_correlation": float(spearmanr(reference.novelty, found.novelty).statistic),
    }


def missed(figures: Figures) -> list[str]:
    """The names of the limits that are not met."""
    sign = {name: -1 if name.endswith("correlation") else 1 for name in LIMITS}
    decisive = {name: figures.get(f"{name}_at_least", figures[name]) for name in LIMITS}
    return [name for name, limit in LIMITS.items() if not sign[name] * decisive[name] <= sign[name] * limit]


def _keep_or_remove(folder: Path, figures: dict[str, Figures]) -> None:
    """`figures`: by split; those of other splits stay in `model.json`."""
    misses = {split: names for split, found in figures.items() if (names := missed(found))}
    print(f"{'int8 against fp32':26}" + "".join(f"{split:>10}" for split in figures) + "     limit")
    for name, limit in LIMITS.items():
        print(f"{name.replace('_', ' '):26}" + "".join(f"{found[name]:10.4f}" for found in figures.values()) + f"{limit:10.3f}")
        if name in BY_INTERVAL and not misses and any(found[name] > limit for found in figures.values()):
            print(f"  {name.replace('_', ' ')}: too few images to tell whether it is beyond the limit")
    description = model_folder.description_of(folder)
    fp32, int8 = description.variants[FP32], description.variants[INT8]
    if not misses:
        variants = {FP32: fp32, INT8: msgspec.structs.replace(int8, gate={**int8.gate, **figures})}
        model_folder.rewrite_description(folder, msgspec.structs.replace(description, variants=variants))
    else:
        named = "; ".join(f"{', '.join(names)} on {split}".replace("_", " ") for split, names in misses.items())
        print(f"int8 is too far from fp32 ({named}) and is removed; fp32 is served everywhere")
        description = msgspec.structs.replace(description, variants={FP32: fp32})
        model_folder.write(folder, {FP32: onnx.load(folder / fp32.file)}, description)
