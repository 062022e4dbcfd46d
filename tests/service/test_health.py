import pytest

from service import health
from service.errors import NotReady
from service.health import Lifecycle


@pytest.mark.parametrize("state", ["starting", "draining"])
def test_it_wants_no_work_before_it_is_ready_and_after(state: str) -> None:
    lifecycle = Lifecycle()
    lifecycle.state = state  # type: ignore[assignment]  # one of its literals
    with pytest.raises(NotReady, match=state):
        health.ready.fn(lifecycle)
