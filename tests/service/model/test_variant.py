"""The rule for the variant, and what is shown of it."""

import httpx
import pytest

from service import machine
from service.model.variant import choose_variant
from tests.conftest import running_service

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
def test_int8_where_model_and_cpu_have_it_unless_the_operator_says_otherwise(
    wanted: str, offered: tuple[str, ...], instructions: str | None, chosen: str, reason: str
) -> None:
    choice = choose_variant(wanted, offered, instructions)
    assert choice.variant == chosen
    assert reason in choice.reason


def test_model_info_shows_what_the_rule_chose_and_why(client: httpx.Client) -> None:
    info = client.get("/model-info").json()
    choice = choose_variant("auto", info["variants"], machine.int8_instructions())
    running = info["running"]
    assert (running["variant"], running["variant_reason"]) == choice
    assert running["lanes"] == running["cpus"] == machine.available_cpus()


def test_model_info_shows_what_the_operator_chose() -> None:
    with running_service(variant="fp32", lanes=3) as client:
        running = client.get("/model-info").json()["running"]
    assert (running["variant"], running["variant_reason"]) == ("fp32", "MEDXFER_VARIANT names it")
    assert (running["lanes"], running["cpus"]) == (3, machine.available_cpus())
