"""A prediction on each side of every threshold."""

import msgspec
import numpy as np
import pytest

from service.images.decode import DecodedImage
from service.model.artefact import Description, NoveltyCutoffs, Thresholds, read_artefact
from service.model.classifier import Outputs
from service.model.prediction import Prediction, interpret
from tests.conftest import DEFAULT_MODEL


@pytest.fixture(scope="module")
def description() -> Description:
    """With round thresholds: uncertain from 0.25 to below 0.75, unusual from 10, foreign from 20."""
    return msgspec.structs.replace(
        read_artefact(DEFAULT_MODEL, "fp32").description,
        thresholds=Thresholds(screening=0.25, balanced=0.5, rule_in=0.75),
        novelty=NoveltyCutoffs(unusual=10, foreign=20),
    )


def predict(description: Description, positive: float, novelty: float = 0, age_years: float | None = None) -> Prediction:
    probabilities = np.array([1 - positive, positive], dtype=np.float32)
    output = Outputs(probabilities, np.zeros((7, 7), np.float32), np.array(novelty, np.float32))
    image = DecodedImage(np.zeros((300, 300), np.uint8), age_years=age_years)
    return interpret(description, image, output)


@pytest.mark.parametrize(
    ("positive", "label", "confidence", "uncertain"),
    [
        (0.0, "NORMAL", 1.0, False),
        (0.125, "NORMAL", 0.875, False),
        (0.25, "NORMAL", 0.75, True),
        (0.625, "PNEUMONIA", 0.625, True),
        (0.75, "PNEUMONIA", 0.75, False),
        (1.0, "PNEUMONIA", 1.0, False),
    ],
)
def test_label_confidence_and_zone(
    description: Description, positive: float, label: str, confidence: float, uncertain: bool
) -> None:
    answer = predict(description, positive)
    assert (answer.label, answer.confidence, answer.uncertain) == (label, confidence, uncertain)


@pytest.mark.parametrize(
    ("value", "level"), [(0, "typical"), (9.5, "typical"), (10, "unusual"), (19.5, "unusual"), (20, "foreign")]
)
def test_an_image_unlike_the_training_images_has_a_warning(description: Description, value: float, level: str) -> None:
    answer = predict(description, 0.5, value)
    assert answer.novelty.level == level
    assert bool(answer.warnings) == (level != "typical")


@pytest.mark.parametrize(("age_years", "warned"), [(None, False), (0.5, True), (1, False), (5, False), (40, True)])
def test_an_age_outside_the_training_range_has_a_warning(
    description: Description, age_years: float | None, warned: bool
) -> None:
    warnings = predict(description, 0.5, age_years=age_years).warnings
    assert [str(age_years) in warning for warning in warnings] == [False] * warned
    assert all("1 to 5 years" in warning for warning in warnings)
