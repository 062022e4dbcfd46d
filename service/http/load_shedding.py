"""Rejects requests before Litestar sees them while all places are taken, which halves the cost of a 429.

Under overload nearly every request is rejected, and each rejection takes time from an answer.
"""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from service.engine.admission import Admission
from service.errors import Overloaded
from service.http.problems import send_problem


class LoadShedding:
    """ASGI, between `Middleware` and the app. `paths` are those of the routes that need a place."""

    def __init__(self, app: ASGIApp, admission: Admission, paths: set[str]) -> None:
        self.app = app
        self.admission = admission
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == ScopeType.HTTP
            and scope["method"] == "POST"
            and scope["path"] in self.paths
            and not _is_cross_origin(scope)
        ):
            try:
                self.admission.check_places()
            except Overloaded as error:
                scope["path_template"] = scope["path"]
                await send_problem(scope, send, error)
                return
        await self.app(scope, receive, send)


def _is_cross_origin(scope: Scope) -> bool:
    """A page of another origin can read a rejection only with Litestar's CORS headers; the app checks places itself, too."""
    return any(name == b"origin" for name, _ in scope["headers"])
