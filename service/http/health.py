"""Whether the process lives, and whether it wants work: starting → ready → draining."""

from typing import Literal

from litestar import HttpMethod, route
from litestar.di import NamedDependency

from service.errors import NotReady
from service.http.openapi import problems
from service.http.schemas import Health

LOOKING = [HttpMethod.GET, HttpMethod.HEAD]  # by which monitors and balancers ask


class Lifecycle:
    """Read by the health routes; set by `app` when the lanes have started, by `serve` when a signal comes."""

    def __init__(self) -> None:
        self.state: Literal["starting", "ready", "draining"] = "starting"

    def check(self) -> None:
        """Raises NotReady."""
        if self.state != "ready":
            raise NotReady(f"the service is {self.state}")


@route(["/health", "/health/ready"], http_method=LOOKING, sync_to_thread=False, responses=problems(NotReady))
def ready(lifecycle: NamedDependency[Lifecycle]) -> Health:
    """Answers 200 once the model is verified, warm and self-tested; 503 with the reason otherwise."""
    lifecycle.check()
    return Health(status="ready")


@route("/health/live", http_method=LOOKING, sync_to_thread=False)
def live() -> Health:
    """Answers 200 as long as the event loop turns, whatever the load."""
    return Health(status="live")
