import numpy as np
import pytest
from sklearn.metrics import accuracy_score, recall_score, roc_auc_score

from training.report import metrics
from training.report.bootstrap import CHUNK, Bools, Floats, bootstrap, interval, resample

TRUTH = np.array([False, False, False, False, True, True])
PROBABILITY = np.array([0.1, 0.2, 0.6, 0.4, 0.9, 0.3])
PATIENTS = ["a", "b", "c", "d", "e", "f"]
THRESHOLDS = {"screening": 0.25, "balanced": 0.5, "rule_in": 0.7}


def test_a_case_counted_by_hand() -> None:
    result = metrics.measure(TRUTH, PROBABILITY, PATIENTS, THRESHOLDS)
    assert result["at"] == {
        "screening": {"tp": 2, "fp": 2, "fn": 0, "tn": 2},
        "balanced": {"tp": 1, "fp": 1, "fn": 1, "tn": 3},
        "rule_in": {"tp": 1, "fp": 0, "fn": 1, "tn": 4},
    }
    assert result["accuracy"]["value"] == pytest.approx(4 / 6)
    assert result["sensitivity"]["value"] == pytest.approx(1 / 2)
    assert result["specificity"]["value"] == pytest.approx(3 / 4)
    assert result["auroc"]["value"] == pytest.approx(6 / 8)
    assert result["precision"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert result["recall"] == pytest.approx((3 / 4 + 1 / 2) / 2)
    assert result["f1"] == pytest.approx((6 / 8 + 2 / 4) / 2)
    assert result["average_precision"] == pytest.approx(1 / 2 * 1 + 1 / 2 * 2 / 4)


def test_a_histogram_counted_by_hand() -> None:
    counted = metrics.histogram(np.array([True, True, True, False]), np.array([0.01, 0.04, 1.0, 0.52]))
    assert counted == {"positive": [2] + [0] * 18 + [1], "negative": [0] * 10 + [1] + [0] * 9}


def test_intervals_hold_their_value() -> None:
    result = metrics.measure(TRUTH, PROBABILITY, PATIENTS, THRESHOLDS)
    for name in ("accuracy", "sensitivity", "specificity", "auroc"):
        low, high = result[name]["interval"]
        assert 0 <= low <= result[name]["value"] <= high <= 1


def test_a_proportion_has_wilsons_interval() -> None:
    assert metrics.proportion(8, 10) == {
        "value": 0.8,
        "interval": [pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4)],
    }


def test_ece_of_probabilities_that_are_true_is_small_and_of_others_their_gap() -> None:
    rng = np.random.default_rng(0)
    probability = rng.uniform(0, 1, 200_000)
    assert metrics.ece(rng.uniform(0, 1, 200_000) < probability, probability) < 0.01
    constant = np.full(1000, 0.9)
    assert metrics.ece(np.arange(1000) % 2 == 0, constant) == pytest.approx(0.4, abs=0.01)


def test_the_order_of_the_images_changes_nothing() -> None:
    truth, probability = np.arange(1000) < 500, np.full(1000, 0.9)
    assert metrics.ece(truth, probability) == pytest.approx(0.4)
    assert metrics.reliability(truth, probability) == [{"probability": pytest.approx(0.9), "observed": 0.5, "images": 1000}]


def test_ece_is_weighted_to_equal_priors() -> None:
    truth = np.random.default_rng(0).uniform(size=100_000) < 0.9
    assert metrics.ece(truth, np.full(truth.size, 0.5)) < 0.02
    assert metrics.ece(truth, np.full(truth.size, 0.9)) == pytest.approx(0.4, abs=0.01)


@pytest.mark.parametrize(("successes", "trials", "expected"), [(300, 300, 0.05 ** (1 / 300)), (0, 10, 0.0)])
def test_lower_bounds_that_have_a_formula(successes: int, trials: int, expected: float) -> None:
    assert metrics.lower_bound(successes, trials) == pytest.approx(expected)


def large(seed: int = 0, images: int = 400) -> tuple[Bools, Floats, list[str]]:
    """Two images of each patient."""
    rng = np.random.default_rng(seed)
    truth: Bools = np.repeat(rng.uniform(size=images // 2) < 0.6, 2)
    probability = np.clip(rng.normal(np.where(truth, 0.65, 0.35), 0.2), 0, 1).round(2)  # so that some are equal
    return truth, probability, [str(image // 2) for image in range(images)]


def test_a_draw_of_the_bootstrap_is_what_sklearn_says_of_the_images_drawn() -> None:
    truth, probability, patients = large()
    draws, weights = bootstrap(truth, probability, patients), np.concatenate([*resample(patients)])
    called = probability >= 0.5
    for draw in (0, 1, 999):
        weight = weights[draw]
        assert draws.auroc[draw] == pytest.approx(roc_auc_score(truth, probability, sample_weight=weight))
        assert draws.sensitivity[draw] == pytest.approx(recall_score(truth, called, sample_weight=weight))
        assert draws.specificity[draw] == pytest.approx(recall_score(~truth, ~called, sample_weight=weight))
        assert draws.accuracy[draw] == pytest.approx(accuracy_score(truth, called, sample_weight=weight))


def test_images_of_a_patient_are_drawn_together_and_widen_the_interval() -> None:
    truth, probability, patients = large()
    weight = next(resample(patients))
    assert np.array_equal(weight[:, ::2], weight[:, 1::2])
    probability = np.repeat(probability[::2], 2)  # two images that say the same are worth one
    apart = np.ptp(interval(bootstrap(truth, probability, [str(i) for i in range(len(truth))]).auroc))
    assert np.ptp(interval(bootstrap(truth, probability, patients).auroc)) > 1.2 * apart


def test_many_images_are_drawn_in_chunks() -> None:
    chunks = [len(weight) for weight in resample([str(image) for image in range(3000)])]
    assert sum(chunks) == 1000
    assert max(chunks) * 3000 <= CHUNK


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    truth, probability, _ = large(images=100_000)
    expected, covered = roc_auc_score(truth, probability), 0
    for seed in range(1, 101):
        low, high = interval(bootstrap(*large(seed, images=200)).auroc)
        covered += low <= expected <= high
    assert 88 <= covered <= 99


def test_a_draw_of_one_label_alone_is_left_out() -> None:
    draws = bootstrap(np.array([True, False, False]), np.array([0.9, 0.1, 0.2]), ["a", "b", "c"]).auroc
    assert np.isnan(draws).any()
    assert np.isfinite(interval(draws)).all()


def test_the_curves_go_through_what_is_counted() -> None:
    truth, probability, patients = large()
    result = metrics.measure(truth, probability, patients, THRESHOLDS)
    fifty = result["sweep"]["threshold"].index(0.5)
    assert result["sweep"]["sensitivity"][fifty] == pytest.approx(result["sensitivity"]["value"], abs=1e-5)
    assert result["sweep"]["specificity"][fifty] == pytest.approx(result["specificity"]["value"], abs=1e-5)
    area = np.trapezoid(result["roc"]["sensitivity"], result["roc"]["false_positive_rate"])
    assert area == pytest.approx(result["auroc"]["value"], abs=0.01)
    assert all(low <= high for low, high in zip(result["roc"]["low"], result["roc"]["high"], strict=True))
    assert np.mean(result["precision_recall"]["precision"]) == pytest.approx(result["average_precision"], abs=0.02)
    assert sum(part["images"] for part in result["reliability"]) == len(truth)


def test_predictive_values_follow_bayes_and_are_none_where_nothing_is_called_so() -> None:
    ppv, npv = metrics.predictive_values(0.9, 0.8, np.array([0.1, 0.5]))
    assert ppv == pytest.approx([0.09 / 0.27, 0.9 / 1.1])
    assert npv == pytest.approx([0.72 / 0.73, 0.8 / 0.9])
    assert np.isnan(metrics.predictive_values(0.0, 1.0, np.array([0.5]))[0]).all()
