"""How good a network is on the validations, at the end of an epoch. Nothing here sees the test fold."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from training.data import batches
from training.data.batches import Kinds, Loader
from training.network.backbone import Network


def validate(network: Network, validation: dict[str, Loader], kinds: Kinds) -> dict[str, float]:
    """By the names of `history.Row`."""
    figures = {}
    for name, images in validation.items():
        margin, truth = margins(network, images, kinds)
        figures[f"{name}_auroc"] = float(roc_auc_score(truth, margin))
        figures[f"{name}_specificity"] = float((margin[~truth] < 0).mean())
        figures[f"{name}_sensitivity"] = float((margin[truth] >= 0).mean())
    return figures


def margins(network: Network, images: Loader, kinds: Kinds) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Of each image, the positive logit less the other [N], and whether it is positive [N]."""
    logits, indices = batches.outputs(network, network, images, "validation")
    return logits[:, kinds.positive] - logits[:, 1 - kinds.positive], kinds.truth(indices)
