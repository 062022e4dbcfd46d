"""Runs a network over all images of a loader: for features, and to validate it after an epoch. The test split is never used."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score

from training.config import ConfigError
from training.data.batches import Loader, Targets, read_batches
from training.network import backbone
from training.network.backbone import Network


def outputs(
    network: Network, compute: Callable[[torch.Tensor], torch.Tensor], images: Loader, what: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Results of `compute`, which is the network or one of its methods, for every image [N, …], and their targets [N]. Raises
    ConfigError if a result is not finite."""
    network.eval()
    computed, targets = [], []
    with torch.inference_mode():
        for batch, target in read_batches(images, what):
            batch = network.to_device(batch)
            with backbone.autocast(batch.device):
                computed.append(compute(batch).float().cpu())
            targets.append(target)
    values = torch.cat(computed).double().numpy()
    if not np.isfinite(values).all():
        raise ConfigError("the network gives no finite numbers: its weights are damaged, or fit.learning_rate was too great")
    return values, torch.cat(targets).numpy()


def validate(
    network: Network, validations: dict[str, Loader], targets: Targets, matched: npt.NDArray[np.float64] | None = None
) -> dict[str, float]:
    """AUROC, specificity and sensitivity (where the two logits are equal), by the column names of `history.Row`. `matched`:
    weights of the images of `val` and then `shifted`, from `report.matched`."""
    figures, margins, truths = {}, {}, {}
    for name, images in validations.items():
        logits, classes = outputs(network, network, images, "validation")
        margin, truth = logits[:, targets.positive] - logits[:, 1 - targets.positive], targets.is_positive(classes)
        margins[name], truths[name] = margin, truth
        figures[f"{name}_auroc"] = float(roc_auc_score(truth, margin))
        figures[f"{name}_specificity"] = float((margin[~truth] < 0).mean())
        figures[f"{name}_sensitivity"] = float((margin[truth] >= 0).mean())
    if matched is not None:
        margin, truth = (np.concatenate([values["val"], values["shifted"]]) for values in (margins, truths))
        figures["matched_auroc"] = float(roc_auc_score(truth, margin, sample_weight=matched))
    return figures
