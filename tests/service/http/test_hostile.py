"""Everything of list A that a client can send, one after another at one service: tests/torture/inputs.py."""

from collections.abc import Iterator

import pytest

from tests.torture import inputs
from tests.torture.process import Service, serving


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serving() as service:
        yield service


@pytest.mark.parametrize("case", inputs.cases(), ids=lambda case: case.name)
def test_what_a_client_may_send_is_answered_as_it_should_be(service: Service, case: inputs.Case) -> None:
    found = inputs.check(service, case)
    assert not found.wrong, found
