"""Answers the plain `POST /predict` without Litestar, whose routing, parameters and answer take a third of what the event loop
does for it. What is not plain goes to Litestar's handler of the same address."""

import msgspec
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Receive, Scope, Send

from service.engine.engine import Engine
from service.errors import RequestError
from service.http import auth
from service.http.predict import predict_one
from service.http.problems import note_failure, send_problem
from service.http.record import record_of

PATH = "/predict"
HEATMAP = {b"": False, b"heatmap=false": False, b"heatmap=true": True}  # by query
# A page of another origin needs Litestar's CORS headers, and a time limit its checks.
NOT_PLAIN = (b"origin", b"x-request-timeout-ms")


class Express:
    """ASGI, within `Middleware`."""

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self.app = app
        self.engine = engine
        self.token = engine.settings.token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP and _is_plain(scope):
            await self._predict(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _predict(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        scope["path_template"], record = PATH, record_of(scope)
        try:
            if self.token:
                auth.check(self.token, record)
            answer = await predict_one(record, receive, self.engine, HEATMAP[scope["query_string"]], None)
        except RequestError as error:
            await send_problem(scope, send, error)
        except Exception as error:
            await send_problem(scope, send, note_failure(record, error))
        else:
            body = msgspec.json.encode(answer)
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body, "more_body": False})


def _is_plain(scope: HTTPScope) -> bool:
    is_addressed = scope["path"] == PATH and scope["method"] == "POST" and scope["query_string"] in HEATMAP
    return is_addressed and not any(name in record_of(scope).headers for name in NOT_PLAIN)
