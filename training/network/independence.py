"""Turns the head so that its logit follows the chosen properties of the image files less within a label.

What the network learned stays as it is. Of all heads whose logit has no covariance with the properties, the one is found whose
logits differ least from the old head's, and the head is turned half of the way to it. It is the closed form of LEACE (Belrose
et al. 2023, arXiv 2306.03819), for one direction, and within labels: between them the logit shall differ, and with it all that
goes with the disease."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch

from training.data.batches import Loader, Targets
from training.data.properties import Table, normal_scores
from training.network import validation
from training.network.backbone import Network

# How far the head is turned. All the way, the new head weighs the surroundings of the chest against each other: for
# models/default, 33 % of the evidence lay on the border of the heat-maps (with «black» and «contrast»; 5 % before).
TURN = 0.5
RIDGE = 0.01  # added to the variance of each feature, times the mean variance: there are about as many features as images

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def turn_head(network: Network, images: Loader, targets: Targets, ignored: Table) -> None:
    """Changes the head. `ignored`: properties of the `images`, NaN where unknown; those that do not vary count for nothing."""
    features, classes = validation.outputs(network, network.pooled, images, "features")
    truth, head = targets.is_positive(classes), network.head
    old = (head.weight[targets.positive] - head.weight[1 - targets.positive]).detach().cpu().double().numpy()
    change = TURN * (independent(old, features, truth, ignored) - old)
    middle = (features[truth].mean(0) + features[~truth].mean(0)) / 2  # whose logit stays as it is
    with torch.no_grad():
        for index, sign in ((targets.positive, 0.5), (1 - targets.positive, -0.5)):
            head.weight[index] += sign * torch.from_numpy(change).to(head.weight)
            head.bias[index] -= sign * float(change @ middle)


def independent(weight: Floats, features: Floats, truth: Bools, ignored: Table) -> Floats:
    """The weights [C] nearest to `weight` whose logit on `features` [N, C] has no covariance, within either label, with the
    normal scores of a property. `truth` [N]: whether an image has the positive label."""
    centred = features.copy()
    for label in (truth, ~truth):
        centred[label] -= features[label].mean(0)
    followed = list(_covariances(centred, truth, list(ignored.values())))
    if not followed:
        return weight
    spread = centred.T @ centred / len(centred)
    spread += RIDGE * np.trace(spread) / len(spread) * np.eye(len(spread))
    directions = np.column_stack(followed)  # [C, properties × labels]
    dual = np.linalg.solve(spread, directions)
    taken, *_ = np.linalg.lstsq(directions.T @ dual, directions.T @ weight, rcond=1e-9)  # two may be one
    return np.asarray(weight - dual @ taken)


def _covariances(centred: Floats, truth: Bools, properties: Sequence[Floats]) -> Iterator[Floats]:
    """[C] of each property within each label."""
    for values in properties:
        for label in (truth, ~truth):
            known = label & np.isfinite(values)
            if known.any() and np.ptp(values[known]) > 0:
                scores = normal_scores(values[known])
                yield centred[known].T @ (scores - scores.mean()) / known.sum()
