import numpy as np
import pytest
import torch

from tests.training.network.small import RECORDS, bright_and_dark, small_network
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
    network, targets = small_network(), Targets(RECORDS, "B")
    views = [bright_and_dark(), bright_and_dark(brighter=1)]
    outputs = [validation.outputs(network, network.pooled, view, "features") for view in views]
    features, numbers = (np.concatenate(arrays) for arrays in zip(*outputs, strict=True))
    weight, bias = probe.regress(features, targets.is_positive(numbers))
    probe.fit_head(network, views, targets)
    head = network.head.weight.detach().numpy(), network.head.bias.detach().numpy()
    assert np.allclose(head[0][1] - head[0][0], weight, atol=1e-6)
    assert head[1][1] - head[1][0] == pytest.approx(bias, abs=1e-5)
