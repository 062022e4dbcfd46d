"""A head that is turned away from properties of the files."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from tests.training.conftest import small_network
from tests.training.network.test_fitting import bright_and_dark, records
from training.data.batches import Targets
from training.data.properties import normal_scores
from training.network import independence, validation

RANDOM = np.random.default_rng(0)
TRUTH = np.arange(600) % 3 > 0
WIDTH = RANDOM.normal(size=600) + TRUTH  # tells the label, too
FEATURES = RANDOM.normal(size=(600, 5)) + np.outer(TRUTH, [3, 0, 0, 0, 1.0])
FEATURES[:, 1] += 2 * WIDTH  # shows nothing else
FEATURES[:, 0] += np.where(TRUTH, WIDTH, 0)  # shows it within one label alone
WEIGHT = np.array([1, 0.5, 0, -0.2, 1])


def followed(weight: independence.Floats, values: independence.Floats) -> list[float]:
    return [float(spearmanr(FEATURES[label] @ weight, values[label]).statistic) for label in (~TRUTH, TRUTH)]


def test_the_logit_follows_the_property_within_no_label_and_still_tells_the_label() -> None:
    assert min(followed(WEIGHT, WIDTH)) > 0.4
    weight = independence.independent(WEIGHT, FEATURES, TRUTH, {"width": WIDTH})
    assert np.abs(followed(weight, WIDTH)).max() < 0.05
    logits = FEATURES @ weight
    assert logits[TRUTH].mean() - logits[~TRUTH].mean() > 0.5
    assert weight[[2, 3]] == pytest.approx(WEIGHT[[2, 3]], abs=0.2), "features that do not show the width were changed"


def test_unknown_values_constant_and_repeated_properties_change_nothing_of_it() -> None:
    known = np.where(np.arange(600) % 2 == 0, WIDTH, np.nan)
    one = independence.independent(WEIGHT, FEATURES, TRUTH, {"width": known})
    repeated = {"width": known, "height": 3 * known, "constant": np.ones(600), "unknown": np.full(600, np.nan)}
    assert independence.independent(WEIGHT, FEATURES, TRUTH, repeated) == pytest.approx(one, abs=1e-6)
    half = np.isfinite(known) & TRUTH
    assert abs(np.cov(FEATURES[half] @ one, normal_scores(known[half]))[0, 1]) < 1e-8
    assert independence.independent(WEIGHT, FEATURES, TRUTH, {"constant": np.ones(600)}) is WEIGHT


@pytest.mark.parametrize("positive", ["A", "B"])
def test_a_turned_head_keeps_its_middle_and_the_backbone(positive: str) -> None:
    network, images, targets = small_network("resnet18"), bright_and_dark(), Targets(records(positive))
    features, classes = validation.outputs(network, network.pooled, images, "features")
    truth, before = targets.is_positive(classes), {name: value.clone() for name, value in network.state_dict().items()}
    width = features[:, 0] + np.random.default_rng(1).normal(size=len(features)) * features[:, 0].std()
    independence.turn_head(network, images, targets, {"width": width})
    after, middle = network.state_dict(), torch.from_numpy((features[truth].mean(0) + features[~truth].mean(0)) / 2).float()
    assert {name for name in after if not torch.equal(after[name], before[name])} == {"head.weight", "head.bias"}
    logits = [state["head.weight"] @ middle + state["head.bias"] for state in (before, after)]
    assert logits[0].tolist() == pytest.approx(logits[1].tolist(), abs=1e-3)
    margin = features @ np.diff(after["head.weight"].double().numpy(), axis=0)[0]
    earlier = features @ np.diff(before["head.weight"].double().numpy(), axis=0)[0]
    for label in (truth, ~truth):
        found, at_first = (np.cov(values[label], normal_scores(width[label]))[0, 1] for values in (margin, earlier))
        assert found == pytest.approx((1 - independence.TURN) * at_first, abs=1e-3 * margin[label].std())
