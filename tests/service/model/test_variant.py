"""The rule that chooses the variant, and what the model info shows of it."""

import httpx
import msgspec
import pytest

from service import machine
from service.engine.engine import Engine
from service.http.status import encode_model_info
from service.model.variant import choose_variant
from service.settings import Settings
from tests.conftest import DEFAULT_MODEL

BOTH = ("fp32", "int8")


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
    by_rule, by_operator = client.get("/model-info").json(), msgspec.json.decode(encode_model_info(engine, has_report=False))
    chosen = choose_variant("auto", by_rule["variants"], machine.int8_instructions())
    for info, expected in ((by_rule, (*chosen, cpus)), (by_operator, ("fp32", "MEDXFER_VARIANT names it", 3))):
        running = info["running"]
        assert (running["variant"], running["variant_reason"], running["lanes"]) == expected
        assert running["cpus"] == cpus
