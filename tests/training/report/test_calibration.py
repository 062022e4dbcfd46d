import numpy as np
import pytest
from scipy.special import expit

from training.report import metrics
from training.stages.calibrate import cross_fitted, find_zone, fit_logistic


def test_a_known_temperature_and_bias_are_found_whatever_the_prior() -> None:
    rng = np.random.default_rng(0)
    evidence = rng.normal(0, 4, 100_000)
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
    assert 0.05 < temperature < 5 and np.isfinite(bias)


@pytest.mark.parametrize(
    ("positives", "negatives", "target", "edges", "errors", "reached"),
    [
        ([0.9] * 400, [0.1] * 400, 0.99, [0.5, 0.5], [0, 0], True),  # half is good enough
        # Of 1,000 images, the bound is 0.9953 with one error and 0.9937 with two.
        ([0.2, 0.3, 0.4] + [0.9] * 997, [0.8, 0.7, 0.6] + [0.1] * 997, 0.995, [0.3, 0.7], [1, 1], True),
        ([0.3] + [0.9] * 49, [0.1] * 50, 0.99, [0.3, 0.5], [0, 0], False),  # too few images
    ],
)
def test_the_edges_of_the_zone_are_as_near_to_half_as_the_target_allows(
    positives: list[float], negatives: list[float], target: float, edges: list[float], errors: list[int], reached: bool
) -> None:
    truth, probability = np.repeat([True, False], [len(positives), len(negatives)]), np.array(positives + negatives)
    thresholds, zone = find_zone(truth, probability, target)
    assert [thresholds.screening, thresholds.rule_in] == pytest.approx(edges, abs=1e-5)
    wrong = [(probability[truth] < thresholds.screening).sum(), (probability[~truth] >= thresholds.rule_in).sum()]
    assert wrong == errors
    for rate, images, number in zip(("sensitivity", "specificity"), (len(positives), len(negatives)), errors, strict=True):
        bound = pytest.approx(metrics.lower_bound(images - number, images))
        assert zone[rate] == {"images": images, "errors": number, "lower_bound": bound, "reached": reached}


def test_the_calibration_that_is_reported_did_not_see_the_patients_that_it_is_measured_on() -> None:
    rng = np.random.default_rng(0)
    logit = np.concatenate([rng.normal(0, 3, 400), np.full(100, 6.0)])
    truth = np.concatenate([rng.uniform(size=400) < expit(logit[:400]), np.full(100, False)])
    patients = [*(str(number) for number in range(400)), *(["odd"] * 100)]  # his labels contradict the score
    temperature, bias = fit_logistic(logit, truth)
    assert cross_fitted(logit, truth, patients)[-1] > expit(6 / temperature + bias) + 0.05


def test_held_out_patients_are_given_calibrated_probabilities() -> None:
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 4, 4000)
    truth = rng.uniform(size=4000) < expit(logit / 2.5)
    assert np.abs(cross_fitted(logit, truth, [str(number) for number in range(4000)]) - expit(logit / 2.5)).max() < 0.06
