import numpy as np
import pytest

from service.model.artefact import read_artefact
from service.model.classifier import Classifier
from tests.conftest import DEFAULT_MODEL, grey
from training.report import heatmaps


def test_shares_of_evidence_counted_by_hand() -> None:
    even = np.ones((2, 7, 7))
    assert heatmaps.border_share(even) == pytest.approx(24 / 49)
    assert heatmaps.outside_share(even) == pytest.approx(40 / 49)  # the middle 3 × 3
    middle = np.zeros((1, 7, 7))
    middle[0, 3, 3] = -2
    assert heatmaps.border_share(middle) == heatmaps.outside_share(middle) == 0
    middle[0, 0, 0] = 2
    assert heatmaps.border_share(middle) == pytest.approx(0.5)


def test_a_map_agrees_with_itself_and_a_flat_one_with_nothing() -> None:
    maps = np.random.default_rng(0).normal(size=(3, 7, 7))
    assert heatmaps.correlations(maps, maps) == pytest.approx([1, 1, 1])
    assert heatmaps.correlations(maps, -maps) == pytest.approx([-1, -1, -1])
    assert heatmaps.correlations(maps, np.zeros_like(maps)) == [0, 0, 0]


def test_other_weights_make_other_maps() -> None:
    classifier = Classifier(read_artefact(DEFAULT_MODEL, "fp32"))
    images = [grey(300, 240, seed) for seed in range(3)]
    result = heatmaps.check(DEFAULT_MODEL, classifier, images)
    assert all(correlation < 0.7 for correlation in result["randomised"].values())
    none = heatmaps.randomised(classifier, DEFAULT_MODEL, 0.0)  # the head alone: the same features
    assert np.array_equal(none.classify(images).novelty, classifier.classify(images).novelty)
    everything = heatmaps.randomised(classifier, DEFAULT_MODEL, 1.0)
    assert not np.allclose(everything.classify(images).novelty, classifier.classify(images).novelty)
