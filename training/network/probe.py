"""The linear probe: a head fitted by logistic regression on the features of the frozen backbone.

It precedes fine-tuning, so that a random head does not distort the features (Kumar et al. 2022, arXiv 2202.10054)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from training.data.batches import Loader, Targets
from training.network import validation
from training.network.backbone import Network

REGULARISATION = 0.01  # scikit-learn's C, on standardised features

Floats = npt.NDArray[np.float64]


def fit_head(network: Network, views: Sequence[Loader], targets: Targets) -> None:
    """Sets the head to the logistic regression on the pooled features of all `views` of the images."""
    outputs = [
        validation.outputs(network, network.pooled, images, f"features, view {number} of {len(views)}")
        for number, images in enumerate(views, 1)
    ]
    features, classes = (np.concatenate(arrays) for arrays in zip(*outputs, strict=True))
    weight, bias = regress(features, targets.is_positive(classes))
    with torch.no_grad():  # half for each logit, so that their difference is the regression's
        for index, sign in ((targets.positive, 0.5), (1 - targets.positive, -0.5)):
            network.head.weight[index] = sign * torch.from_numpy(weight)
            network.head.bias[index] = sign * bias


def regress(features: Floats, truth: npt.NDArray[np.bool_]) -> tuple[Floats, float]:
    """Weights [C] and bias for the raw features [N, C]; both labels weigh the same."""
    scaler = StandardScaler()
    scaled = scaler.fit_transform(features)
    regression = LogisticRegression(C=REGULARISATION, class_weight="balanced", max_iter=1000).fit(scaled, truth)
    weight = regression.coef_[0] / scaler.scale_
    return weight, float(regression.intercept_[0] - weight @ scaler.mean_)
