"""Middleware around the whole app: load shedding, request id, log line, metrics, timing and security headers.
Bodies, file names, query strings and paths other than our own are never logged."""

import asyncio
import logging
import random
import re
from collections.abc import Callable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from service.engine.engine import Engine
from service.errors import NotReady, Overloaded
from service.http.connection import CLIENT_LEFT
from service.http.problems import send_problem
from service.http.record import RequestRecord
from service.metrics import outcome

logger = logging.getLogger(__name__)

_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
# https://www.w3.org/TR/trace-context/
_TRACE = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_QUIET = ("/health", "/metrics", "/v2/health", "/web", "/examples")
_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_NO_STORE = (b"cache-control", b"no-store")
_HEADERS = [
    (b"content-security-policy", _POLICY),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), microphone=(), geolocation=()"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
]


class Middleware:
    """ASGI. Leaves a `RequestRecord` in `scope["state"]["record"]`, for the app to fill in. While draining, it tells clients to
    close the connection after the answer. `paths` are those of the routes that need a place in the queue."""

    def __init__(self, app: ASGIApp, engine: Engine, paths: set[str], draining: Callable[[], bool]) -> None:
        self.app = app
        self.metrics, self.admission = engine.metrics, engine.admission
        self.paths = paths
        self.draining = draining

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        status, headers = 0, dict(scope["headers"])
        trace = _TRACE.fullmatch(headers.get(b"traceparent", b""))
        trace_id = trace[1].decode() if trace else None
        record = RequestRecord(request_id=_request_id(headers), headers=headers, trace_id=trace_id)
        scope.setdefault("state", {})["record"] = record

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = [*message.get("headers", []), (b"x-request-id", record.request_id.encode()), _server_timing(record)]
                if trace:
                    own.append((b"traceparent", trace[0]))
                if self.draining():
                    own.append((b"connection", b"close"))
                if b"cache-control" not in dict(own):
                    own.append(_NO_STORE)
                message["headers"] = own + _HEADERS
            await send(message)

        try:
            self._shed_load(scope, record)
            await self.app(scope, receive, send_with_headers)
        except Overloaded as error:
            await send_problem(scope, send_with_headers, error)
        except asyncio.CancelledError as cancelled:
            if cancelled.args != (CLIENT_LEFT,) and not status:  # the time to drain is over
                await send_problem(scope, send_with_headers, NotReady("the service had to stop before the answer"))
        finally:
            # The route's template, never the path itself, which could be a file name (curl -T).
            self._log(scope["method"][:10], scope.get("path_template", "-"), status, record, record.elapsed_ms())

    def _shed_load(self, scope: HTTPScope, record: RequestRecord) -> None:
        """Raises Overloaded while all places are taken, before Litestar sees the request. That halves the cost of a 429, of
        which overload causes thousands. A page of another origin can read one only with Litestar's CORS headers."""
        if scope["method"] == "POST" and scope["path"] in self.paths and b"origin" not in record.headers:
            scope["path_template"] = scope["path"]
            self.admission.check_places()

    def note_refusal(self, status: int) -> str:
        """Logs and counts what was refused before it was a request. Returns the request id of the log line."""
        record = RequestRecord(request_id=_new_id())
        self._log("-", "-", status, record, 0)
        return record.request_id

    def _log(self, method: str, route: str, status: int, record: RequestRecord, milliseconds: float) -> None:
        self.metrics.requests(route, outcome(status)).inc()
        self.metrics.request_seconds(route).observe(milliseconds / 1000)
        # Probes, the page's files, and rejections under overload come by the thousand; metrics count them.
        level = logging.DEBUG if route.startswith(_QUIET) or route.endswith("/ready") or status == 429 else logging.INFO
        if logger.isEnabledFor(level):
            fields = {"method": method, "route": route, "status": status, "outcome": outcome(status)}
            fields |= {"ms": round(milliseconds, 1), "request_id": record.request_id, **record.log_fields()}
            logger.log(level, "request", extra=fields)


def _server_timing(record: RequestRecord) -> tuple[bytes, bytes]:
    parts = {**record.timing_ms, "total": record.elapsed_ms()}
    return b"server-timing", ", ".join(f"{name};dur={value:.2f}" for name, value in parts.items()).encode()


def _request_id(headers: dict[bytes, bytes]) -> str:
    offered = headers.get(b"x-request-id", b"")
    return offered.decode() if _ID.fullmatch(offered) else _new_id()


def _new_id() -> str:
    return f"{random.getrandbits(128):032x}"
