"""What a variant must not cost: its answers against those of fp32, on both validations, or it is not shipped."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from service.artefact import Description
from service.classifier import Outputs
from training import model_folder
from training.data import Record
from training.metrics import Bools
from training.model_folder import FP32

# The largest allowed of a loss or shift; the least allowed of a correlation.
LIMITS = {
    "auroc_loss": 0.003,
    "accuracy_loss": 0.005,
    "mean_probability_shift": 0.01,
    "heatmap_correlation": 0.98,
    "novelty_rank_correlation": 0.98,
}


def check(folder: Path, images: Path, splits: Mapping[str, Sequence[Record]]) -> None:
    """Writes each variant's figures into `model.json`; takes out those that miss the gate on any of `splits`."""
    description = model_folder.load(folder).artefact.description
    for name in [name for name in description.variants if name != FP32]:
        figures = {split: against_fp32(folder, name, images, records) for split, records in splits.items()}
        show(name, figures)
        if all(passed(found) for found in figures.values()):
            description = with_gate(description, name, figures)
            model_folder.rewrite_description(folder, description)
        else:
            print(f"{name} misses the gate and is left out; {FP32} is served everywhere")
            description = _without(folder, description, name)


def against_fp32(folder: Path, variant: str, images: Path, records: Sequence[Record]) -> dict[str, float]:
    reference, found = (model_folder.classify(model_folder.load(folder, name), images, records) for name in (FP32, variant))
    description = model_folder.load(folder).artefact.description
    truth = np.array([record.label == description.positive for record in records])
    return compare(truth, reference, found, description.labels.index(description.positive))


def compare(truth: Bools, reference: Outputs, found: Outputs, positive: int) -> dict[str, float]:
    """`truth` [N]: positive or not; `positive`: its column. A loss below 0 is a gain."""
    before, after = (outputs.probabilities[:, positive].astype(np.float64) for outputs in (reference, found))
    maps = zip(*(outputs.heatmaps.reshape(len(truth), -1) for outputs in (reference, found)), strict=True)
    return {
        "auroc_loss": float(roc_auc_score(truth, before) - roc_auc_score(truth, after)),
        "accuracy_loss": float(((before >= 0.5) == truth).mean() - ((after >= 0.5) == truth).mean()),
        "mean_probability_shift": float(np.abs(before - after).mean()),
        "heatmap_correlation": float(np.mean([np.corrcoef(first, second)[0, 1] for first, second in maps])),
        "novelty_rank_correlation": float(spearmanr(reference.novelty, found.novelty).statistic),
    }


def passed(figures: Mapping[str, float]) -> bool:
    return all(
        figures[name] >= limit if name.endswith("correlation") else figures[name] <= limit for name, limit in LIMITS.items()
    )


def with_gate(description: Description, variant: str, figures: dict[str, dict[str, float]]) -> Description:
    """`figures`: by split; those of other splits stay."""
    old = description.variants[variant]
    new = msgspec.structs.replace(old, gate={**old.gate, **figures})
    return msgspec.structs.replace(description, variants={**description.variants, variant: new})


def show(variant: str, figures: Mapping[str, Mapping[str, float]]) -> None:
    print(f"{variant + ' against ' + FP32:26}" + "".join(f"{split:>10}" for split in figures) + "     limit")
    for name, limit in LIMITS.items():
        print(f"{name.replace('_', ' '):26}" + "".join(f"{found[name]:10.4f}" for found in figures.values()) + f"{limit:10.3f}")


def _without(folder: Path, description: Description, variant: str) -> Description:
    kept = {name: other for name, other in description.variants.items() if name != variant}
    description = msgspec.structs.replace(description, variants=kept)
    models = {name: onnx.load(folder / other.file) for name, other in kept.items()}
    model_folder.write(folder, models, description)
    return description
