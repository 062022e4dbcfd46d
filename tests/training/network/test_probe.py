import numpy as np
import pytest
import torch

from tests.training.network.test_tuning import RECORDS, bright_and_dark, small
from training.data import batches
from training.data.batches import Kinds
from training.network import probe, validation


@pytest.mark.parametrize("positive", ["A", "B"])
def test_the_head_alone_separates_what_frozen_features_can(positive: str) -> None:
    network, kinds = small(), Kinds(RECORDS, positive)
    before = {name: value.clone() for name, value in network.features.state_dict().items()}
    probe.fit_head(network, [bright_and_dark()], kinds)
    margin, truth = validation.margins(network, bright_and_dark(), kinds)
    assert np.array_equal(margin > 0, truth)
    assert truth.sum() == len(truth) / 2
    assert all(torch.equal(value, before[name]) for name, value in network.features.state_dict().items())


def test_the_head_is_the_regression_on_all_views_together() -> None:
    network, kinds = small(), Kinds(RECORDS, "B")
    views = [bright_and_dark(), bright_and_dark(brighter=1)]
    outputs = [batches.outputs(network, network.pooled, view, "features") for view in views]
    features, indices = (np.concatenate(arrays) for arrays in zip(*outputs, strict=True))
    weight, bias = probe.regress(features, kinds.truth(indices))
    probe.fit_head(network, views, kinds)
    head = network.head.weight.detach().numpy(), network.head.bias.detach().numpy()
    assert np.allclose(head[0][1] - head[0][0], weight, atol=1e-6)
    assert head[1][1] - head[1][0] == pytest.approx(bias, abs=1e-5)
