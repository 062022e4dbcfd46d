"""Metrics, their intervals, the comparison of two models, and calibration."""

import numpy as np
import pytest
from msgspec.structs import replace
from scipy.special import expit
from scipy.stats import binomtest
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from training.report import metrics, zone
from training.report.bootstrap import CHUNK, Bools, Floats, bootstrap, interval, resample
from training.stages.calibrate import cross_fitted, fit_logistic, warnings
from training.tools.compare import paired

THRESHOLDS = {"screening": 0.25, "balanced": 0.5, "rule_in": 0.7}
FIGURES = ("accuracy", "sensitivity", "specificity", "auroc")


def large(seed: int = 0, images: int = 400) -> tuple[Bools, Floats, list[str]]:
    rng = np.random.default_rng(seed)
    truth: Bools = np.repeat(rng.uniform(size=images // 2) < 0.6, 2)
    probability = np.clip(rng.normal(np.where(truth, 0.65, 0.35), 0.2), 0, 1).round(2)  # so that some are equal
    return truth, probability, [str(image // 2) for image in range(images)]


def test_a_case_counted_by_hand() -> None:
    truth, probability = np.array([False, False, False, False, True, True]), np.array([0.1, 0.2, 0.6, 0.4, 0.9, 0.3])
    result = metrics.measure(truth, probability, list("abcdef"), THRESHOLDS)
    assert result["at"] == {
        "screening": {"tp": 2, "fp": 2, "fn": 0, "tn": 2},
        "balanced": {"tp": 1, "fp": 1, "fn": 1, "tn": 3},
        "rule_in": {"tp": 1, "fp": 0, "fn": 1, "tn": 4},
    }
    assert [result[name]["value"] for name in FIGURES] == pytest.approx([4 / 6, 1 / 2, 3 / 4, 6 / 8])
    for figure in (result[name] for name in FIGURES):
        assert 0 <= figure["interval"][0] <= figure["value"] <= figure["interval"][1] <= 1
    averages = {"precision": 5 / 8, "recall": 5 / 8, "f1": (6 / 8 + 2 / 4) / 2, "average_precision": 1 / 2 + 1 / 2 * 2 / 4}
    assert {name: result[name] for name in averages} == pytest.approx(averages)
    counted = metrics.histogram(np.array([True, True, True, False]), np.array([0.01, 0.04, 1.0, 0.52]))
    assert counted == {"positive": [2] + [0] * 18 + [1], "negative": [0] * 10 + [1] + [0] * 9}


def test_a_proportion_has_wilsons_interval_and_the_lower_bound_its_formula() -> None:
    assert metrics.proportion(8, 10) == {"value": 0.8, "interval": pytest.approx([0.4902, 0.9433], abs=1e-4)}
    bounds = [metrics.lower_bound(successes, trials) for successes, trials in ((300, 300), (0, 10))]
    assert bounds == pytest.approx([0.05 ** (1 / 300), 0.0])


def test_ece_is_the_gap_weighted_to_equal_priors_whatever_the_order_of_the_images() -> None:
    rng = np.random.default_rng(0)
    probability = rng.uniform(0, 1, 200_000)
    assert metrics.ece(rng.uniform(0, 1, 200_000) < probability, probability) < 0.01
    sorted_truth, constant = np.arange(1000) < 500, np.full(1000, 0.9)
    assert metrics.ece(sorted_truth, constant) == pytest.approx(0.4)
    assert metrics.reliability(sorted_truth, constant) == [{"probability": pytest.approx(0.9), "observed": 0.5, "images": 1000}]
    often = rng.uniform(size=100_000) < 0.9
    assert metrics.ece(often, np.full(often.size, 0.5)) < 0.02
    assert metrics.ece(often, np.full(often.size, 0.9)) == pytest.approx(0.4, abs=0.01)


def test_predictive_values_follow_bayes_and_are_none_where_nothing_is_called_so() -> None:
    ppv, npv = metrics.predictive_values(0.9, 0.8, np.array([0.1, 0.5]))
    assert [*ppv, *npv] == pytest.approx([0.09 / 0.27, 0.9 / 1.1, 0.72 / 0.73, 0.8 / 0.9])
    assert np.isnan(metrics.predictive_values(0.0, 1.0, np.array([0.5]))[0]).all()


def test_the_curves_go_through_what_is_counted() -> None:
    truth, probability, patients = large()
    result = metrics.measure(truth, probability, patients, THRESHOLDS)
    sweep, roc, fifty = result["sweep"], result["roc"], result["sweep"]["threshold"].index(0.5)
    for name in ("sensitivity", "specificity"):
        assert sweep[name][fifty] == pytest.approx(result[name]["value"], abs=1e-5)
    assert np.trapezoid(roc["sensitivity"], roc["false_positive_rate"]) == pytest.approx(result["auroc"]["value"], abs=0.01)
    assert all(low <= high for low, high in zip(roc["low"], roc["high"], strict=True))
    assert np.mean(result["precision_recall"]["precision"]) == pytest.approx(result["average_precision"], abs=0.02)
    assert sum(part["images"] for part in result["reliability"]) == len(truth)


def test_a_draw_of_the_bootstrap_is_what_sklearn_says_of_the_images_drawn() -> None:
    truth, probability, patients = large()
    draws, weights = bootstrap(truth, probability, patients), np.concatenate([*resample(patients)])
    called = probability >= 0.5
    for draw, weight in ((draw, weights[draw]) for draw in (0, 1, 999)):
        recalls = [recall_score(truth, called, pos_label=label, sample_weight=weight) for label in (True, False)]
        accuracy = accuracy_score(truth, called, sample_weight=weight)
        auroc = roc_auc_score(truth, probability, sample_weight=weight)
        assert [figure[draw] for figure in draws[:4]] == pytest.approx([*recalls, accuracy, auroc])


def test_images_of_a_patient_are_drawn_together_and_widen_the_interval_and_many_are_drawn_in_chunks() -> None:
    truth, probability, patients = large()
    weight = next(resample(patients))
    assert np.array_equal(weight[:, ::2], weight[:, 1::2])
    probability = np.repeat(probability[::2], 2)  # two images that say the same are worth one
    apart = np.ptp(interval(bootstrap(truth, probability, [str(i) for i in range(len(truth))]).auroc))
    assert np.ptp(interval(bootstrap(truth, probability, patients).auroc)) > 1.2 * apart
    chunks = [len(weight) for weight in resample([str(image) for image in range(3000)])]
    assert sum(chunks) == 1000 and max(chunks) * 3000 <= CHUNK


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth, probability, _ = large(images=100_000)
    expected = roc_auc_score(truth, probability)
    intervals = [interval(bootstrap(*large(seed, images=200)).auroc) for seed in range(1, 101)]
    assert 88 <= sum(low <= expected <= high for low, high in intervals) <= 99


def test_a_draw_of_one_label_alone_is_left_out() -> None:
    draws = bootstrap(np.array([True, False, False]), np.array([0.9, 0.1, 0.2]), ["a", "b", "c"]).auroc
    assert np.isnan(draws).any() and np.isfinite(interval(draws)).all()


def test_a_better_model_is_found_to_be_better_and_the_pairing_narrows_the_interval() -> None:
    truth, probability, patients = large(images=600)
    better, nearly, same = (
        paired(truth, probability, probability + change, patients)
        for change in (np.where(truth, 0.1, -0.1), np.random.default_rng(1).normal(0, 0.01, 600), np.zeros(600))
    )
    for figure in (better[name] for name in FIGURES):
        assert 0 < figure["interval"][0] <= figure["difference"] <= figure["interval"][1]
    assert better["mcnemar"]["p"] < 1e-6
    assert np.ptp(nearly["auroc"]["interval"]) < 0.01  # far less than either model's own interval
    assert (same["auroc"]["interval"], same["mcnemar"]) == ([0, 0], {"right_alone": [0, 0], "p": 1.0})


def test_mcnemar_counts_the_images_that_one_alone_calls_right() -> None:
    truth = np.array([True] * 10 + [False] * 10)
    first, second = np.where(truth, 0.9, 0.1), np.where(truth, 0.9, 0.1)
    first[:1], second[3:9] = 0.2, 0.2
    result = paired(truth, first, second, [str(number) for number in range(20)])
    assert result["mcnemar"] == {"right_alone": [6, 1], "p": pytest.approx(binomtest(1, 7).pvalue)}


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
        # Too few images: an answer must itself have the target as its probability, and no error is allowed.
        ([0.3] + [0.9] * 49, [0.1] * 50, 0.99, [0.01, 0.99], [0, 0], False),
        ([0.005] + [0.9] * 49, [0.1] * 50, 0.99, [0.005, 0.99], [0, 0], False),
        # So few that 0.9 is not shown: every answer is uncertain. A lower target can be shown by as few.
        ([0.9] * 28, [0.1] * 29, 0.97, [0.0, 0.97], [0, 0], False),
        ([0.9] * 12, [0.1] * 12, 0.97, [0.0, 1.0], [0, 0], False),
        ([0.9] * 12, [0.1] * 12, 0.75, [0.5, 0.5], [0, 0], True),
    ],
)
def test_the_edges_of_the_zone_are_as_near_to_half_as_the_target_allows(
    positives: list[float], negatives: list[float], target: float, edges: list[float], errors: list[int], reached: bool
) -> None:
    truth, probability = np.repeat([True, False], [len(positives), len(negatives)]), np.array(positives + negatives)
    thresholds, found = zone.find(truth, probability, target)
    assert [thresholds.screening, thresholds.rule_in] == pytest.approx(edges, abs=1e-5)
    wrong = [(probability[truth] < thresholds.screening).sum(), (probability[~truth] >= thresholds.rule_in).sum()]
    assert wrong == errors
    for rate, images, number in zip(("sensitivity", "specificity"), (len(positives), len(negatives)), errors, strict=True):
        bound = pytest.approx(metrics.lower_bound(images - number, images))
        assert found[rate] == {"images": images, "errors": number, "lower_bound": bound, "reached": reached}


def test_no_answer_is_certain_after_a_calibration_on_twelve_images_of_a_label() -> None:
    evidence = np.concatenate([np.linspace(-9, -3, 12), np.linspace(3, 9, 12)])
    temperature, bias = fit_logistic(evidence, evidence > 0)
    thresholds, found = zone.find(evidence > 0, expit(evidence / temperature + bias), 0.97)
    assert all(thresholds.is_uncertain(float(probability)) for probability in (0, 0.34, 0.66, 0.79, 0.9999, 1))
    few, _ = zone.warnings(found, thresholds, "NORMAL", "PNEUMONIA")
    words = "too few to show 0.97: without an error they show 0.78; 99 are needed. So every answer NORMAL is uncertain."
    assert few == f"12 images of PNEUMONIA are {words}"


def test_fifty_images_of_a_label_let_only_an_answer_be_certain_that_has_the_target_as_its_probability() -> None:
    truth = np.repeat([False, True], 50)
    thresholds, found = zone.find(truth, np.where(truth, 0.98, 0.02), 0.97)
    assert [thresholds.is_uncertain(probability) for probability in (0.02, 0.04, 0.96, 0.98)] == [False, True, True, False]
    few, _ = zone.warnings(found, thresholds, "NORMAL", "PNEUMONIA")
    assert few.endswith("every answer NORMAL is uncertain unless its probability is at least 0.970.")
    many = np.repeat([False, True], 99)
    thresholds, found = zone.find(many, np.where(many, 0.98, 0.02), 0.97)
    assert zone.warnings(found, thresholds, "NORMAL", "PNEUMONIA") == []
    assert zone.sentence(thresholds, "PNEUMONIA") == "No prediction is uncertain: the zone of uncertainty is empty."
    wider = replace(thresholds, screening=0.25)
    assert (
        zone.sentence(wider, "OPACITY")
        == "A prediction is uncertain if the probability of OPACITY lies between 0.2500 and 0.5000."
    )


def test_a_calibration_that_makes_its_own_ece_worse_is_said() -> None:
    def said(before: float, after: float, taken: bool) -> list[str]:
        choice = {"before": 0.2, "after": 0.1 if taken else 0.3, "taken": taken}
        return warnings({"images": 24, "before": {"ece": before}, "after": {"ece": after}, "choice": choice})

    worse = "on its own 24 images the calibration made the expected calibration error worse, from"
    assert said(0.087, 0.118, taken=True) == [f"{worse} 0.0870 to 0.1180. It was taken because it is better with altered ones."]
    assert said(0.087, 0.087, taken=False)[0].startswith(f"{worse} 0.2000 to 0.3000. It was not taken")
    assert said(0.118, 0.087, taken=True) == []


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
