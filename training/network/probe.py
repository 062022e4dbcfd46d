"""The linear probe: a head on the frozen backbone's features.

It comes before fine-tuning so that a random head does not distort the features (Kumar et al. 2022, arXiv 2202.10054).
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from training.data import batches
from training.data.batches import Kinds, Loader
from training.network.backbone import Network

REGULARISATION = 0.01  # scikit-learn's C, on standardised features

Floats = npt.NDArray[np.float64]


def fit_head(network: Network, views: Sequence[Loader], kinds: Kinds) -> None:
    """Set the head to the logistic regression on the pooled features of all `views` of the images, each computed once; labels
    weighted equally."""
    features, truth = [], []
    for number, images in enumerate(views, 1):
        computed, indices = batches.outputs(network, network.pooled, images, f"features, view {number} of {len(views)}")
        features.append(computed)
        truth.append(kinds.truth(indices))
    weight, bias = regress(np.concatenate(features), np.concatenate(truth))
    with torch.no_grad():  # split evenly, so that the difference of the two logits is the regression's
        for index, sign in ((kinds.positive, 0.5), (1 - kinds.positive, -0.5)):
            network.head.weight[index] = sign * torch.from_numpy(weight)
            network.head.bias[index] = sign * bias


def regress(features: Floats, truth: npt.NDArray[np.bool_]) -> tuple[Floats, float]:
    """Weights [C] and bias, of features [N, C] as they are."""
    scaler = StandardScaler()
    scaled = scaler.fit_transform(features)
    regression = LogisticRegression(C=REGULARISATION, class_weight="balanced", max_iter=1000).fit(scaled, truth)
    weight = regression.coef_[0] / scaler.scale_
    return weight, float(regression.intercept_[0] - weight @ scaler.mean_)
