import numpy as np
import pytest
from scipy.stats import binomtest

from training.report.bootstrap import Bools, Floats
from training.tools.compare import paired


def two_models(images: int = 600) -> tuple[Bools, Floats, Floats, list[str]]:
    """The second is the first with less noise."""
    rng = np.random.default_rng(0)
    truth = np.arange(images) % 2 == 0
    signal, noise = np.where(truth, 0.6, 0.4), rng.normal(0, 0.1, images)
    return truth, np.clip(signal + 2 * noise, 0, 1), np.clip(signal + noise, 0, 1), [str(image) for image in range(images)]


def test_a_better_model_is_found_to_be_better() -> None:
    result = paired(*two_models())
    for name in ("auroc", "accuracy", "sensitivity", "specificity"):
        low, high = result[name]["interval"]
        assert 0 < low <= result[name]["difference"] <= high
    assert result["mcnemar"]["p"] < 1e-6


def test_a_model_is_no_better_than_itself() -> None:
    truth, first, _, patients = two_models()
    result = paired(truth, first, first, patients)
    assert result["auroc"]["interval"] == [0, 0]
    assert result["mcnemar"] == {"right_alone": [0, 0], "p": 1.0}


def test_the_pairing_narrows_the_interval() -> None:
    """Two models that are wrong about the same images differ by less than their own intervals let one think."""
    truth, first, _, patients = two_models()
    nearly = np.clip(first + np.random.default_rng(1).normal(0, 0.01, len(first)), 0, 1)
    result = paired(truth, first, nearly, patients)
    assert np.ptp(result["auroc"]["interval"]) < 0.01


def test_mcnemar_counts_the_images_that_one_alone_calls_right() -> None:
    truth = np.array([True] * 10 + [False] * 10)
    first, second = np.where(truth, 0.9, 0.1), np.where(truth, 0.9, 0.1)
    first[:1], second[3:9] = 0.2, 0.2
    result = paired(truth, first, second, [str(number) for number in range(20)])
    assert result["mcnemar"]["right_alone"] == [6, 1]
    assert result["mcnemar"]["p"] == pytest.approx(binomtest(1, 7).pvalue)
