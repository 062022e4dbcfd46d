"""Around the whole app: an id and one log line for every request, metrics, timing, and the headers that every answer has.

Never logged: bodies, file names, paths that are not ours, query strings.
"""

import asyncio
import logging
import random
import re
import time
from collections.abc import Callable, Mapping

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from service.errors import NotReady
from service.http.connection import CLIENT_LEFT
from service.http.problems import send_problem
from service.metrics import Metrics, outcome

logger = logging.getLogger(__name__)

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TRACE = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
)  # https://www.w3.org/TR/trace-context/
_QUIET = ("/health", "/metrics", "/v2/health", "/web")
_HEADERS = [
    (b"cache-control", b"no-store"),
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]


class Telemetry:
    """ASGI. Leaves in `scope["state"]`: `request_id`, `start` (seconds, time.perf_counter); `timing`, milliseconds by name, and
    `notes` for the log line, both for the app to fill in. While draining, it tells clients not to come again on the same
    connection."""

    def __init__(self, app: ASGIApp, metrics: Metrics, draining: Callable[[], bool]) -> None:
        self.app = app
        self.metrics = metrics
        self.draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            await self._observed(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _observed(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        start, status, headers = time.perf_counter(), 0, dict(scope["headers"])
        request_id, trace = _request_id(headers), _TRACE.fullmatch(headers.get(b"traceparent", b""))
        timing: dict[str, float] = {}
        notes: dict[str, object] = {"trace_id": trace[1].decode()} if trace else {}
        scope.setdefault("state", {}).update(request_id=request_id, start=start, timing=timing, notes=notes)

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [*message.get("headers", []), (b"x-request-id", request_id.encode()), _server_timing(timing, start)]
                if trace:
                    own.append((b"traceparent", trace[0]))
                if self.draining():
                    own.append((b"connection", b"close"))
                names = {name for name, _ in own}
                message["headers"] = own + [header for header in _HEADERS if header[0] not in names]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except asyncio.CancelledError as cancelled:
            if cancelled.args != (CLIENT_LEFT,) and not status:  # the time to drain is over
                await send_problem(scope, send_with_headers, NotReady("the service had to stop before the answer"))
        finally:
            notes |= {f"{name}_ms": round(value, 1) for name, value in timing.items()}
            # Not the path itself, which could be a file name (curl -T).
            route = scope.get("path_template", "-")
            self._note(scope["method"][:10], route, status, request_id, time.perf_counter() - start, notes)

    def refused(self, status: int) -> str:
        """Note what was refused before it was a request. Returns the id that it is noted by."""
        request_id = _new_id()
        self._note("-", "-", status, request_id, 0, {})
        return request_id

    def _note(self, method: str, route: str, status: int, request_id: str, seconds: float, notes: Mapping[str, object]) -> None:
        self.metrics.requests.labels(route, outcome(status)).inc()
        self.metrics.request_seconds.labels(route).observe(seconds)
        # Those who look, the page’s files, and what overload turns away by the thousand: metrics count them.
        level = logging.DEBUG if route.startswith(_QUIET) or route.endswith("/ready") or status == 429 else logging.INFO
        if logger.isEnabledFor(level):
            known = {"method": method, "route": route, "status": status, "outcome": outcome(status)}
            logger.log(level, "request", extra={**known, "ms": round(1000 * seconds, 1), "request_id": request_id, **notes})


def _server_timing(timing: dict[str, float], start: float) -> tuple[bytes, bytes]:
    parts = {**timing, "total": 1000 * (time.perf_counter() - start)}
    return b"server-timing", ", ".join(f"{name};dur={value:.2f}" for name, value in parts.items()).encode()


def _request_id(headers: dict[bytes, bytes]) -> str:
    offered = headers.get(b"x-request-id", b"")
    return offered.decode() if _ID.fullmatch(offered) else _new_id()


def _new_id() -> str:
    return f"{random.getrandbits(128):032x}"
