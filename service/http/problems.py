"""Problem details (RFC 9457): what they are at an address, and sent where Litestar does not do it."""

import msgspec
from litestar.types import HTTPScope, Send

from service.errors import RequestError
from service.http.schemas import Problem, problem


def for_path(problem: Problem, path: str) -> Problem:
    """As the clients of that address read it."""
    is_open_inference = path == "/v2" or path.startswith("/v2/")
    return msgspec.structs.replace(problem, error=problem.detail) if is_open_inference else problem


async def send_problem(scope: HTTPScope, send: Send, error: RequestError, *headers: tuple[bytes, bytes]) -> None:
    body = msgspec.json.encode(for_path(problem(error, scope["state"]["request_id"]), scope["path"]))
    own = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})
