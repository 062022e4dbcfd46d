"""One log line and one id for every request. Never logged: bodies, file names, paths that are not ours, query strings."""

import logging
import re
import time
import uuid
import warnings
from collections.abc import Callable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

logger = logging.getLogger(__name__)

_ACCEPTABLE_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")


def configure_logging(level: str) -> None:
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("PIL").setLevel(logging.WARNING)  # its debug lines hold what EXIF says of a patient
    warnings.filterwarnings("ignore", module=r"PIL\.")  # an image can hold thousands of reasons for one


class RequestLog:
    """ASGI, around the whole app: accepts or makes `X-Request-ID`, sends it back, logs the outcome. While draining, it tells
    clients not to come again on the same connection."""

    def __init__(self, app: ASGIApp, draining: Callable[[], bool]) -> None:
        self.app = app
        self.draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            await self._logged(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _logged(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        start, status, request_id = time.perf_counter(), 0, _request_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                leave = [(b"connection", b"close")] if self.draining() else []
                message["headers"] = [*message.get("headers", []), (b"x-request-id", request_id.encode()), *leave]
            await send(message)

        try:
            await self.app(scope, receive, send_with_id)
        finally:
            milliseconds = 1000 * (time.perf_counter() - start)
            route = scope.get("path_template", "-")  # the path itself could be a file name (curl -T)
            logger.info(
                "request method=%s route=%s status=%d ms=%.1f id=%s",
                scope["method"][:10],
                route,
                status,
                milliseconds,
                request_id,
            )


def _request_id(scope: HTTPScope) -> str:
    offered = dict(scope["headers"]).get(b"x-request-id", b"")
    return offered.decode() if _ACCEPTABLE_ID.fullmatch(offered) else uuid.uuid4().hex
