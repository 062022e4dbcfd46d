"""A prediction on each side of every threshold, and the rule that chooses the variant."""

import os

import httpx
import msgspec
import numpy as np
import pytest
from msgspec.structs import replace

from service import machine
from service.engine.engine import Engine
from service.http.status import encode_model_info
from service.images.decode import DecodedImage
from service.images.warnings import INVERTED, NO_CONTRAST, NOT_CHEST, NOT_FRONTAL
from service.model.artefact import Description, NoveltyCutoffs, Thresholds, read_artefact
from service.model.classifier import Outputs
from service.model.prediction import Prediction, interpret
from service.model.variant import choose_variant
from service.settings import Settings
from tests.conftest import DEFAULT_MODEL

BOTH = ("fp32", "int8")
THRESHOLDS = Thresholds(screening=0.25, balanced=0.5, rule_in=0.75)


@pytest.fixture(scope="module")
def description() -> Description:
    default = read_artefact(DEFAULT_MODEL, "fp32").description
    return replace(default, thresholds=THRESHOLDS, novelty=NoveltyCutoffs(unusual=10, foreign=20))


def predict(
    description: Description,
    positive: float,
    novelty: float = 0,
    age_years: float | None = None,
    warnings: tuple[str, ...] = (),
) -> Prediction:
    probabilities = np.array([1 - positive, positive], dtype=np.float32)
    output = Outputs(probabilities, np.zeros((7, 7), np.float32), np.array(novelty, np.float32))
    return interpret(description, DecodedImage(np.zeros((300, 300), np.uint8), warnings, age_years), output)


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


DOUBTED = [(0.9, 0, []), (0.6, 15, ["uncertain"]), (0.6, 20, ["uncertain", "foreign"])]
ABSTAINED = {
    (): [],
    (INVERTED,): ["inverted"],
    (NO_CONTRAST, "the image is tiny"): ["no-contrast"],
    (NOT_CHEST, NOT_FRONTAL): ["not-chest", "not-frontal"],
    ("the image is in colour",): [],
}


@pytest.mark.parametrize("warnings", ABSTAINED)
@pytest.mark.parametrize(("positive", "novelty", "doubts"), DOUBTED)
def test_an_answer_that_should_not_be_used_says_so_and_why(
    description: Description, positive: float, novelty: float, doubts: list[str], warnings: tuple[str, ...]
) -> None:
    answer = predict(description, positive, novelty, warnings=warnings)
    assert answer.reasons == [*doubts, *ABSTAINED[warnings]]
    assert answer.abstain == bool(answer.reasons)


def test_an_image_unlike_the_training_images_has_a_warning(description: Description) -> None:
    for value, level in {0: "typical", 9.5: "typical", 10: "unusual", 19.5: "unusual", 20: "foreign"}.items():
        answer = predict(description, 0.5, value)
        assert (answer.novelty.level, bool(answer.warnings)) == (level, level != "typical")


@pytest.mark.parametrize(("age", "count"), [(None, 0), (0.5, 1), (1, 0), (5, 0), (40, 1)])
def test_an_age_outside_the_training_range_has_a_warning(description: Description, age: float | None, count: int) -> None:
    warnings = predict(description, 0.5, age_years=age).warnings
    assert [("1 to 5 years" in warning, str(age) in warning) for warning in warnings] == [(True, False)] * count


@pytest.mark.parametrize(
    ("wanted", "offered", "instructions", "chosen", "reason"),
    [
        ("auto", BOTH, "avx512_vnni", "int8", "this CPU has avx512_vnni"),
        ("auto", BOTH, None, "fp32", "no instructions"),
        ("auto", ("fp32",), "asimddp", "fp32", "no int8 variant"),
        ("fp32", BOTH, "avx_vnni", "fp32", "MEDXFER_VARIANT"),
        ("int8", BOTH, None, "int8", "MEDXFER_VARIANT"),
        ("int4", BOTH, None, "int4", "MEDXFER_VARIANT"),
    ],
)
def test_int8_needs_a_model_and_a_cpu_with_it_unless_the_operator_chooses(
    wanted: str, offered: tuple[str, ...], instructions: str | None, chosen: str, reason: str
) -> None:
    choice = choose_variant(wanted, offered, instructions)
    assert choice.variant == chosen
    assert reason in choice.reason


def test_model_info_shows_what_the_rule_or_the_operator_chose_and_why(client: httpx.Client) -> None:
    cpus, engine = machine.available_cpus(), Engine.load(Settings(model=str(DEFAULT_MODEL), variant="fp32", lanes=3))
    by_rule = client.get("/model-info").json()
    by_operator = msgspec.json.decode(encode_model_info(engine, has_report=False, examples=[]))
    chosen = choose_variant(os.environ.get("MEDXFER_VARIANT", "auto"), by_rule["variants"], machine.int8_instructions())
    for info, expected in ((by_rule, (*chosen, cpus)), (by_operator, ("fp32", "MEDXFER_VARIANT names it", 3))):
        running = info["running"]
        assert (running["variant"], running["variant_reason"], running["lanes"]) == expected
        assert running["cpus"] == cpus
