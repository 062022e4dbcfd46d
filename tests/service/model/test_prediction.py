"""A prediction on each side of every threshold."""

import numpy as np
import pytest
from msgspec.structs import replace

from service.images.decode import DecodedImage
from service.model.artefact import Description, NoveltyCutoffs, Thresholds, read_artefact
from service.model.classifier import Outputs
from service.model.prediction import Prediction, interpret
from tests.conftest import DEFAULT_MODEL

THRESHOLDS = Thresholds(screening=0.25, balanced=0.5, rule_in=0.75)


@pytest.fixture(scope="module")
def description() -> Description:
    default = read_artefact(DEFAULT_MODEL, "fp32").description
    return replace(default, thresholds=THRESHOLDS, novelty=NoveltyCutoffs(unusual=10, foreign=20))


def predict(description: Description, positive: float, novelty: float = 0, age_years: float | None = None) -> Prediction:
    probabilities = np.array([1 - positive, positive], dtype=np.float32)
    output = Outputs(probabilities, np.zeros((7, 7), np.float32), np.array(novelty, np.float32))
    return interpret(description, DecodedImage(np.zeros((300, 300), np.uint8), age_years=age_years), output)


@pytest.mark.parametrize(
    ("positive", "expected"),
    [
        (0.125, ("NORMAL", 0.875, False)),
        (0.25, ("NORMAL", 0.75, True)),
        (0.625, ("PNEUMONIA", 0.625, True)),
        (0.75, ("PNEUMONIA", 0.75, False)),
    ],
)
def test_label_confidence_and_zone(description: Description, positive: float, expected: tuple[str, float, bool]) -> None:
    answer = predict(description, positive)
    assert (answer.label, answer.confidence, answer.uncertain) == expected


def test_an_image_unlike_the_training_images_has_a_warning(description: Description) -> None:
    for value, level in {0: "typical", 9.5: "typical", 10: "unusual", 19.5: "unusual", 20: "foreign"}.items():
        answer = predict(description, 0.5, value)
        assert (answer.novelty.level, bool(answer.warnings)) == (level, level != "typical")


@pytest.mark.parametrize(("age", "count"), [(None, 0), (0.5, 1), (1, 0), (5, 0), (40, 1)])
def test_an_age_outside_the_training_range_has_a_warning(description: Description, age: float | None, count: int) -> None:
    warnings = predict(description, 0.5, age_years=age).warnings
    assert [("1 to 5 years" in warning, str(age) in warning) for warning in warnings] == [(True, False)] * count
