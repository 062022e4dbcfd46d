"""Problem details (RFC 9457), sent where Litestar does not do it."""

import msgspec
from litestar.types import Send

from service.errors import RequestError
from service.schemas import problem


async def send_problem(send: Send, error: RequestError, request_id: str, *headers: tuple[bytes, bytes]) -> None:
    body = msgspec.json.encode(problem(error, request_id))
    own = [(b"content-type", b"application/problem+json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": error.status, "headers": [*own, *headers]})
    await send({"type": "http.response.body", "body": body, "more_body": False})
