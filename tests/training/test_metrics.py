import numpy as np
import pytest

from training import metrics

TRUTH = np.array([False, False, False, False, True, True])
PROBABILITY = np.array([0.1, 0.2, 0.6, 0.4, 0.9, 0.3])
PATIENTS = ["a", "b", "c", "d", "e", "f"]


def test_a_case_counted_by_hand() -> None:
    result = metrics.measure(TRUTH, PROBABILITY, PATIENTS)
    assert result["confusion"] == [[3, 1], [1, 1]]
    assert result["accuracy"]["value"] == pytest.approx(4 / 6)
    assert result["sensitivity"]["value"] == pytest.approx(1 / 2)
    assert result["specificity"]["value"] == pytest.approx(3 / 4)
    assert result["auroc"]["value"] == pytest.approx(6 / 8)
    assert result["precision"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert result["recall"] == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_intervals_hold_their_value() -> None:
    result = metrics.measure(TRUTH, PROBABILITY, PATIENTS)
    for name in ("accuracy", "sensitivity", "specificity", "auroc"):
        low, high = result[name]["interval"]
        assert 0 <= low <= result[name]["value"] <= high <= 1


def test_ece_of_probabilities_that_are_true_is_small_and_of_others_their_gap() -> None:
    rng = np.random.default_rng(0)
    probability = rng.uniform(0, 1, 200_000)
    assert metrics.ece(rng.uniform(0, 1, 200_000) < probability, probability) < 0.01
    constant = np.full(1000, 0.9)
    assert metrics.ece(np.arange(1000) % 2 == 0, constant) == pytest.approx(0.4, abs=0.01)


def test_ece_is_weighted_to_equal_priors() -> None:
    truth = np.random.default_rng(0).uniform(size=100_000) < 0.9
    assert metrics.ece(truth, np.full(truth.size, 0.5)) < 0.02
    assert metrics.ece(truth, np.full(truth.size, 0.9)) == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(("successes", "trials", "expected"), [(300, 300, 0.05 ** (1 / 300)), (0, 10, 0.0)])
def test_lower_bounds_that_have_a_formula(successes: int, trials: int, expected: float) -> None:
    assert metrics.lower_bound(successes, trials) == pytest.approx(expected)
