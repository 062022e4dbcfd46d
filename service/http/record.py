"""What one request leaves for its log line and its `Server-Timing` header."""

import time
from typing import Any, TypeAlias

import msgspec
from litestar import Request as LitestarRequest
from litestar.datastructures import State
from litestar.types import HTTPScope

Request: TypeAlias = LitestarRequest[Any, Any, State]  # Any: nobody logs in, so there is no user and no token


class RequestRecord(msgspec.Struct, kw_only=True):
    """`Middleware` creates it and handlers fill it in. `headers` are the request's, with names in small letters. `start` is in
    seconds of time.perf_counter; `timing_ms` is by name."""

    request_id: str
    headers: dict[bytes, bytes] = {}
    start: float = msgspec.field(default_factory=time.perf_counter)
    timing_ms: dict[str, float] = {}
    trace_id: str | None = None
    body_bytes: int | None = None
    images: int | None = None
    refused: int | None = None
    problem: str | None = None

    def header(self, name: bytes, default: str = "") -> str:
        return self.headers[name].decode("latin-1") if name in self.headers else default

    def elapsed_ms(self) -> float:
        return 1000 * (time.perf_counter() - self.start)

    def log_fields(self) -> dict[str, object]:
        """The fields of the log line that not every request has."""
        fields: dict[str, object] = {
            "trace_id": self.trace_id,
            "bytes": self.body_bytes,
            "images": self.images,
            "refused": self.refused,
        }
        fields |= {"problem": self.problem} | {f"{name}_ms": round(value, 1) for name, value in self.timing_ms.items()}
        return {name: value for name, value in fields.items() if value is not None}


def record_of(scope: HTTPScope) -> RequestRecord:
    record: RequestRecord = scope["state"]["record"]
    return record
