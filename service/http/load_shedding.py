"""Turns requests away while all places are taken, before Litestar sees them: under overload nearly every request is one of
these, and each takes time from an answer. In this way it is half of what it was.
"""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from service.engine.admission import Admission
from service.errors import Overloaded
from service.http.problems import send_problem


class Gate:
    """ASGI, around the app and within Telemetry. `paths`: of those routes that need a place."""

    def __init__(self, app: ASGIApp, admission: Admission, paths: set[str]) -> None:
        self.app = app
        self.admission = admission
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["type"] == ScopeType.HTTP
            and scope["method"] == "POST"
            and scope["path"] in self.paths
            and not _is_page(scope)
        ):
            try:
                self.admission.check_places()
            except Overloaded as error:
                scope["path_template"] = scope["path"]
                later = (b"retry-after", str(error.retry_after_seconds).encode())
                await send_problem(scope, send, error, later)
                return
        await self.app(scope, receive, send)


def _is_page(scope: Scope) -> bool:
    """Those need Litestar's CORS headers to read even a refusal; the app checks for itself."""
    return any(name == b"origin" for name, _ in scope["headers"])
