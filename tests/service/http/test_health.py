from typing import Any

import httpx
import pytest

from service.errors import NotReady
from service.http import status
from service.http.status import Lifecycle
from service.open_inference import routes

HEALTH = {
    "/health": {"status": "ready"},
    "/health/ready": {"status": "ready"},
    "/health/live": {"status": "live"},
    "/v2/health/ready": {"ready": True},
    "/v2/health/live": {"live": True},
    "/v2/models/chest-xray-best/ready": {"name": "chest-xray-best", "ready": True},
}


def test_a_running_service_is_healthy(client: httpx.Client) -> None:
    assert {path: client.get(path).raise_for_status().json() for path in HEALTH} == HEALTH


@pytest.mark.parametrize("handler", [status.ready, routes.ready], ids=["own", "v2"])
@pytest.mark.parametrize("state", ["starting", "draining"])
def test_it_is_not_ready_while_it_starts_or_drains(state: Any, handler: Any) -> None:  # Any: a literal; of Litestar
    lifecycle = Lifecycle()
    lifecycle.state = state
    with pytest.raises(NotReady, match=state):
        handler.fn(lifecycle)


def test_a_signal_that_comes_while_it_starts_is_not_forgotten_once_it_has_started() -> None:
    lifecycle = Lifecycle()
    lifecycle.state = "draining"
    lifecycle.started()
    assert lifecycle.state == "draining"


@pytest.mark.parametrize("path", [*HEALTH, "/"])
def test_head_answers_with_the_headers_of_get(path: str, client: httpx.Client) -> None:
    whole, head = client.get(path), client.head(path)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type"):
        assert head.headers[name] == whole.headers[name]
