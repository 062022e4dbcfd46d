"""Optional bearer-token authentication."""

import hmac
from typing import Any

from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler
from litestar.types import Guard

from service.errors import Unauthorized
from service.http.record import RequestRecord, record_of


def bearer(token: str) -> Guard:
    def guard(connection: ASGIConnection[Any, Any, Any, Any], _: BaseRouteHandler) -> None:  # Any: as in `record.Request`
        check(token, record_of(connection.scope))  # type: ignore[arg-type]  # there are no websockets

    return guard


def check(token: str, record: RequestRecord) -> None:
    """Raises Unauthorized. It compares in constant time, so that its timing reveals the token's length alone."""
    scheme, _, offered = record.header(b"authorization").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(offered.strip().encode(errors="replace"), token.encode()):
        raise Unauthorized("this service wants «Authorization: Bearer …» with its token")
