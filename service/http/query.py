"""Refuses query parameters that an address does not have. Litestar ignores them, so that `?Heatmap=true` would do nothing."""

from collections.abc import Awaitable, Callable

from service.errors import WrongParameter
from service.http.record import Request

MAX_NAME = 40  # characters of a parameter that are repeated


def only(*known: str) -> Callable[[Request], Awaitable[None]]:
    """A hook that runs before a handler and raises WrongParameter."""

    async def check(request: Request) -> None:  # Litestar would run a plain function in a thread
        for name in request.query_params:
            if name not in known:
                takes = ", ".join(known) or "none"
                raise WrongParameter(f"{name[:MAX_NAME]!r} is no parameter of this address; it takes {takes}")

    return check
