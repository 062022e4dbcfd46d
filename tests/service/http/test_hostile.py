"""Sends every request of list A (tests/torture/inputs.py) to one service, one after another."""

from collections.abc import Iterator

import pytest

from tests.torture import inputs
from tests.torture.process import Service, serving


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving() as service:
        yield service


@pytest.mark.parametrize("case", inputs.cases(), ids=lambda case: case.name)
def test_every_hostile_request_gets_its_one_expected_answer(service: Service, case: inputs.Case) -> None:
    found = inputs.check(service, case)
    assert not found.wrong, found
