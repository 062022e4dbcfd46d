"""Errors as problem details (RFC 9457): the one place where an exception becomes an HTTP answer."""

import logging

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException
from litestar.types import ExceptionHandlersMap, HTTPScope, Send

from service.errors import InternalError, MalformedRequest, RequestError, UnknownAddress, WrongMethod, WrongParameter
from service.http.record import Request, RequestRecord, record_of

CONTENT_TYPE = "application/problem+json"
MAX_DETAIL = 300  # characters; Litestar repeats the whole query
MAX_HOST = 100  # characters
HOW_TO_ASK = {
    "/predict": "-F image=@xray.jpeg",
    "/predict/batch": "-F images=@xray.jpeg -F images=@another.jpeg",
    "/preview": "-F image=@xray.dcm -o xray.png",
}  # by curl

logger = logging.getLogger(__name__)


class Problem(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457, `application/problem+json`. `type` tells problems of one status apart. Below `/v2`, `error` repeats the detail,
    as clients of that protocol look for it there."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str = ""
    error: str = ""


def problem_of(error: RequestError, request_id: str) -> Problem:
    return Problem(type=error.type, title=error.title, status=error.status, detail=str(error), request_id=request_id)


async def send_problem(scope: HTTPScope, send: Send, error: RequestError) -> None:
    """Sends a problem from outside Litestar."""
    record = record_of(scope)
    record.problem = error.title
    problem = problem_of(error, record.request_id)
    body = msgspec.json.encode(_for_path(problem, scope["path"]))
    headers = {"content-type": CONTENT_TYPE, "content-length": str(len(body)), **error.headers}
    encoded = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": encoded})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def note_failure(record: RequestRecord, error: Exception) -> InternalError:
    logger.error("failed", exc_info=error, extra={"request_id": record.request_id})
    return InternalError("the service failed; its log has the reason under this request_id")


def _refuse(request: Request, error: RequestError) -> Response[Problem]:
    record = record_of(request.scope)
    record.problem = error.title
    problem = _for_path(problem_of(error, record.request_id), request.scope["path"])
    return Response(problem, status_code=problem.status, media_type=CONTENT_TYPE, headers=error.headers)


def _refuse_for_litestar(request: Request, error: HTTPException) -> Response[Problem]:
    """Answers what Litestar refuses by itself: unknown addresses, methods and parameters."""
    if error.status_code >= 500:
        return _fail(request, error)
    refusal = _refusal(request, error)
    refusal.headers = error.headers or {}
    return _refuse(request, refusal)


def _fail(request: Request, error: Exception) -> Response[Problem]:
    return _refuse(request, note_failure(record_of(request.scope), error))


EXCEPTION_HANDLERS: ExceptionHandlersMap = {RequestError: _refuse, HTTPException: _refuse_for_litestar, Exception: _fail}


def _refusal(request: Request, error: HTTPException) -> RequestError:
    headers = {name.lower(): value for name, value in (error.headers or {}).items()}
    if error.status_code == 404:
        return UnknownAddress("there is no such address; /docs and /schema/openapi.json list them")
    if error.status_code == 405:
        takes = headers.get("allow", "other methods")
        return WrongMethod(f"not by {request.method[:10]}; this address takes {takes}{_example(request)}")
    if isinstance(error.extra, list) and error.extra and isinstance(wrong := error.extra[0], dict):
        name, in_header = str(wrong.get("key")), wrong.get("source") == "header"
        name = name.replace("_", "-") if in_header else name
        value = request.headers.get(name) if in_header else request.query_params.get(name)
        return WrongParameter(f"{name} is {str(value)[:40]!r}: {wrong['message']}")
    return MalformedRequest(error.detail[:MAX_DETAIL])


def _example(request: Request) -> str:
    """For people who open the address in a browser."""
    path, host = request.scope["path"].rstrip("/"), request.headers.get("host", "localhost:8000")[:MAX_HOST]
    return f": curl {HOW_TO_ASK[path]} {host}{path}" if path in HOW_TO_ASK else ""


def _for_path(problem: Problem, path: str) -> Problem:
    is_open_inference = path == "/v2" or path.startswith("/v2/")
    return msgspec.structs.replace(problem, error=problem.detail) if is_open_inference else problem
