import numpy as np
import pytest
import torch

from tests.training.network.small import RECORDS, TARGETS, bright_and_dark, small_network
from training.data.batches import Targets
from training.network import probe, validation


@pytest.mark.parametrize("positive", ["A", "B"])
def test_the_head_alone_separates_what_frozen_features_can(positive: str) -> None:
    network, targets = small_network(), Targets(RECORDS, positive)
    before = {name: value.clone() for name, value in network.features.state_dict().items()}
    probe.fit_head(network, [bright_and_dark()], targets)
    figures = validation.validate(network, {"val": bright_and_dark()}, targets)
    assert figures == {"val_auroc": 1, "val_specificity": 1, "val_sensitivity": 1}
    assert all(torch.equal(value, before[name]) for name, value in network.features.state_dict().items())


def test_the_head_is_the_regression_on_all_views_together() -> None:
    network, views = small_network(), [bright_and_dark(), bright_and_dark(brighter=1)]
    outputs = [validation.outputs(network, network.pooled, view, "features") for view in views]
    features, classes = (np.concatenate(arrays) for arrays in zip(*outputs, strict=True))
    weight, bias = probe.regress(features, TARGETS.is_positive(classes))
    probe.fit_head(network, views, TARGETS)
    assert np.diff(network.head.weight.detach(), axis=0)[0] == pytest.approx(weight, abs=1e-6)
    assert np.diff(network.head.bias.detach()) == pytest.approx(bias, abs=1e-5)
