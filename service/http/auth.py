"""Optional bearer-token authentication."""

import hmac
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from service.errors import Unauthorized


def bearer(token: str) -> Guard:
    """A guard that raises Unauthorized. It compares in constant time, so that its timing reveals the token's length alone."""
    expected = token.encode()

    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:  # Any: as in `record.Request`
        scheme, offered = connection.headers.get("authorization", "").partition(" ")[::2]
        if scheme.lower() != "bearer" or not hmac.compare_digest(offered.strip().encode(errors="replace"), expected):
            raise Unauthorized("this service wants «Authorization: Bearer …» with its token")

    return guard
