"""The rule that chooses the variant of a model for this machine."""

from collections.abc import Container
from typing import NamedTuple

from service.settings import AUTO


class Choice(NamedTuple):
    variant: str
    reason: str


def choose_variant(wanted: str, offered: Container[str], int8_instructions: str | None) -> Choice:
    """int8 if the model has it and the CPU computes it exactly, else fp32. The operator's setting overrides the rule."""
    if wanted != AUTO:
        return Choice(wanted, "MEDXFER_VARIANT names it")
    if "int8" not in offered:
        return Choice("fp32", "the model has no int8 variant")
    if int8_instructions is None:
        return Choice("fp32", "this CPU has no instructions that multiply int8 exactly")
    return Choice("int8", f"this CPU has {int8_instructions}")
