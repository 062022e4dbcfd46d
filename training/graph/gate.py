"""What a variant must not cost: its answers against those of fp32, on both validations, or it is not shipped."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnx
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from service.model.artefact import Description
from service.model.classifier import Outputs
from training import files
from training.data.manifest import Record
from training.data.splits import TEST
from training.graph import model_folder, predictions
from training.graph.model_folder import FP32
from training.report.metrics import Bools

CONFIRMED = "confirmed.json"  # in a run folder

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
    for name in [name for name in model_folder.load(folder).artefact.description.variants if name != FP32]:
        figures = {split: against_fp32(folder, name, images, records) for split, records in splits.items()}
        _keep_or_leave_out(folder, name, figures)


def confirm(run_dir: Path, images: Path, test: Sequence[Record]) -> None:
    """Once on the test fold, after all is locked: figures of a variant that was confirmed before, in these bits, stand."""
    folder = run_dir / "model"
    for name in [name for name in model_folder.load(folder).artefact.description.variants if name != FP32]:
        artefact = model_folder.load(folder, name).artefact
        locked, confirmed = predictions.lock(artefact), _confirmed(run_dir)
        if locked not in confirmed:
            predictions.log_reading(run_dir, artefact, len(test))
            confirmed[locked] = against_fp32(folder, name, images, test)
            with files.atomic_write(run_dir / CONFIRMED) as temporary:
                temporary.write_bytes(msgspec.json.encode(confirmed))
        _keep_or_leave_out(folder, name, {TEST: confirmed[locked]})


def _confirmed(run_dir: Path) -> dict[str, dict[str, float]]:
    """Figures on the test fold, by what was locked."""
    path = run_dir / CONFIRMED
    return msgspec.json.decode(path.read_bytes(), type=dict[str, dict[str, float]]) if path.exists() else {}


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


def _keep_or_leave_out(folder: Path, variant: str, figures: dict[str, dict[str, float]]) -> None:
    show(variant, figures)
    description = model_folder.load(folder).artefact.description
    if all(passed(found) for found in figures.values()):
        model_folder.rewrite_description(folder, with_gate(description, variant, figures))
    else:
        print(f"{variant} misses the gate and is left out; {FP32} is served everywhere")
        _leave_out(folder, description, variant)


def _leave_out(folder: Path, description: Description, variant: str) -> None:
    kept = {name: other for name, other in description.variants.items() if name != variant}
    description = msgspec.structs.replace(description, variants=kept)
    models = {name: onnx.load(folder / other.file) for name, other in kept.items()}
    model_folder.write(folder, models, description)
