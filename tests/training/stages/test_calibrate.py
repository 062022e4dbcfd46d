import numpy as np
import pytest
from scipy.special import expit

from training.report import metrics
from training.stages.calibrate import cross_fitted, find_zone, fit_logistic


def test_a_known_temperature_and_bias_are_found_whatever_the_prior() -> None:
    rng = np.random.default_rng(0)
    evidence = rng.normal(0, 4, 200_000)
    truth = rng.uniform(size=evidence.size) < expit(evidence / 2.5 - 0.7)
    keep = truth | (rng.uniform(size=evidence.size) < 0.2)  # four fifths of the negatives are lost
    weights = metrics.equal_priors(truth)
    prior_shift = np.log(weights[truth][0] / weights[~truth][0])
    temperature, bias = fit_logistic(evidence[keep], truth[keep])
    assert temperature == pytest.approx(2.5, rel=0.02)
    assert bias == pytest.approx(-0.7 + prior_shift, abs=0.05)


def test_separable_labels_keep_the_temperature_off_zero() -> None:
    evidence = np.concatenate([np.linspace(-5, -1, 100), np.linspace(1, 5, 300)])
    temperature, bias = fit_logistic(evidence, evidence > 0)
    assert 0.05 < temperature < 5
    assert np.isfinite(bias)


def test_calibration_never_changes_the_order() -> None:
    evidence = np.random.default_rng(0).normal(0, 3, 500)
    temperature, _ = fit_logistic(evidence, evidence + np.random.default_rng(1).normal(0, 2, 500) > 0)
    assert temperature > 0


def labelled(positives: list[float], negatives: list[float]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([True] * len(positives) + [False] * len(negatives)), np.array(positives + negatives)


def test_no_zone_is_needed_where_half_is_good_enough() -> None:
    thresholds, zone = find_zone(*labelled([0.9] * 400, [0.1] * 400), target=0.99)
    assert (thresholds.screening, thresholds.rule_in) == (0.5, 0.5)
    assert zone["sensitivity"]["reached"]
    assert zone["specificity"]["reached"]


def test_the_edges_are_as_near_to_half_as_the_target_allows() -> None:
    positives = [0.2, 0.3, 0.4] + [0.9] * 997  # with one error of 1,000 the bound is 0.9953, with two 0.9937
    negatives = [0.8, 0.7, 0.6] + [0.1] * 997
    truth, probability = labelled(positives, negatives)
    thresholds, zone = find_zone(truth, probability, target=0.995)
    assert (zone["sensitivity"]["errors"], zone["specificity"]["errors"]) == (1, 1)
    assert thresholds.screening == pytest.approx(0.3, abs=1e-5)
    assert thresholds.rule_in == pytest.approx(0.7, abs=1e-5)
    assert (probability[truth] >= thresholds.screening).sum() == 999
    assert (probability[~truth] < thresholds.rule_in).sum() == 999


def test_too_few_images_are_said_to_be_too_few() -> None:
    thresholds, zone = find_zone(*labelled([0.3] + [0.9] * 49, [0.1] * 50), target=0.99)
    assert thresholds.screening == pytest.approx(0.3, abs=1e-5)
    assert zone["sensitivity"] == {"images": 50, "errors": 0, "lower_bound": pytest.approx(0.05 ** (1 / 50)), "reached": False}


def test_the_calibration_that_is_reported_did_not_see_the_patients_that_it_is_measured_on() -> None:
    """One patient whose labels contradict the score: a calibration fitted with him would be less sure of his images."""
    rng = np.random.default_rng(0)
    logit = np.concatenate([rng.normal(0, 3, 400), np.full(100, 6.0)])
    truth = np.concatenate([rng.uniform(size=400) < expit(logit[:400]), np.full(100, False)])
    patients = [*(str(number) for number in range(400)), *(["odd"] * 100)]
    temperature, bias = fit_logistic(logit, truth)
    assert cross_fitted(logit, truth, patients)[-1] > expit(6 / temperature + bias) + 0.05


def test_held_out_patients_are_given_calibrated_probabilities() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 4, 4000)
    truth = rng.uniform(size=4000) < expit(logit / 2.5)
    probability = cross_fitted(logit, truth, [str(number) for number in range(4000)])
    assert np.abs(probability - expit(logit / 2.5)).max() < 0.06
