"""Turns requests away while all places are taken, before Litestar sees them: under overload nearly every request is one of
these, and each takes time from an answer. In this way it is half of what it was.
"""

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from service.admission import Admission
from service.errors import Overloaded
from service.schemas import problem


class Gate:
    """ASGI, around the app and within Telemetry. `paths`: of those routes that need a place."""

    def __init__(self, app: ASGIApp, admission: Admission, paths: set[str]) -> None:
        self.app = app
        self.admission = admission
        self.paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and scope["method"] == "POST" and scope["path"] in self.paths:
            try:
                self.admission.check_places()
            except Overloaded as error:
                scope["path_template"] = scope["path"]
                await _refuse(scope, send, error)
                return
        await self.app(scope, receive, send)


async def _refuse(scope: Scope, send: Send, error: Overloaded) -> None:
    body = msgspec.json.encode(problem(error, scope["state"]["request_id"]))
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(error.retry_after_seconds).encode()),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
