"""Health routes: whether the process is alive, and whether it is ready for work (starting, ready, draining)."""

from typing import Literal

from litestar import HttpMethod, route
from litestar.di import NamedDependency

from service.errors import NotReady
from service.http.openapi import problems
from service.http.schemas import Health

PROBE_METHODS = [HttpMethod.GET, HttpMethod.HEAD]  # monitors and balancers use either


class Lifecycle:
    """`app` sets the state to ready when the lanes have started, and `server` to draining when a signal comes."""

    def __init__(self) -> None:
        self.state: Literal["starting", "ready", "draining"] = "starting"

    def check(self) -> None:
        """Raises NotReady unless the service is ready."""
        if self.state != "ready":
            raise NotReady(f"the service is {self.state}")


@route(["/health", "/health/ready"], http_method=PROBE_METHODS, sync_to_thread=False, responses=problems(NotReady))
def ready(lifecycle: NamedDependency[Lifecycle]) -> Health:
    """Answers 200 once the model is verified, warm and self-tested; 503 with the reason otherwise."""
    lifecycle.check()
    return Health(status="ready")


@route("/health/live", http_method=PROBE_METHODS, sync_to_thread=False)
def live() -> Health:
    """Answers 200 as long as the event loop runs, whatever the load."""
    return Health(status="live")
