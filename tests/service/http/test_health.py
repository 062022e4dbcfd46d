from typing import Any

import httpx
import pytest

from service.errors import NotReady
from service.http import health
from service.http.health import Lifecycle
from service.open_inference import routes


@pytest.mark.parametrize("handler", [health.ready, routes.ready], ids=["ours", "v2"])
@pytest.mark.parametrize("state", ["starting", "draining"])
def test_it_wants_no_work_before_it_is_ready_and_after(state: str, handler: Any) -> None:  # Any: of Litestar, by its answer
    lifecycle = Lifecycle()
    lifecycle.state = state  # type: ignore[assignment]  # one of its literals
    with pytest.raises(NotReady, match=state):
        handler.fn(lifecycle)


@pytest.mark.parametrize("path", ["/health", "/health/ready", "/health/live", "/v2/health/ready", "/v2/health/live", "/"])
def test_who_asks_by_head_gets_the_head_of_what_get_gets(path: str, client: httpx.Client) -> None:
    whole, head = client.get(path), client.head(path)
    assert head.status_code == 200
    assert head.headers["content-length"] == whole.headers["content-length"]
    assert head.headers["content-type"] == whole.headers["content-type"]
    assert head.content == b""
