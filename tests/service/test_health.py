import httpx
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


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/live", "/"])
def test_who_asks_by_head_gets_the_head_of_what_get_gets(path: str, client: httpx.Client) -> None:
    whole, head = client.get(path), client.head(path)
    assert head.status_code == 200
    assert head.headers["content-length"] == str(len(whole.content))
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert head.content == b""
