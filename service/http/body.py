"""Reads request bodies within the bounds of admission and of one deadline, and the images of forms (multipart/form-data)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, TypeAlias

from litestar.exceptions import InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from litestar.params import HeaderParameter
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from service.engine.engine import Engine
from service.errors import BodyTooLarge, DeadlineExceeded, MalformedRequest, RequestError, TooSlow, UnsupportedEncoding
from service.http.record import Request, record_of

OTHER_PARTS = 3  # that a form may have beside its images

TimeoutMs: TypeAlias = Annotated[
    int | None,
    HeaderParameter(name="X-Request-Timeout-Ms", ge=1, description="Milliseconds; shortens the service's deadline."),
]


@asynccontextmanager
async def read_body(request: Request, engine: Engine, timeout_ms: int | None) -> AsyncIterator[bytes]:
    """Yields the whole body. The deadline holds for what is done within the context, too. Raises UnsupportedEncoding,
    BodyTooLarge, Overloaded, MalformedRequest, TooSlow (the body came too late) and DeadlineExceeded (the answer did)."""
    if (encoding := request.headers.get("content-encoding", "identity")).lower() != "identity":
        raise UnsupportedEncoding(f"Content-Encoding is {encoding[:20]!r}; bodies are taken as they are")
    settings = engine.settings
    deadline_ms = min(timeout_ms or settings.deadline_ms, settings.deadline_ms)
    late: RequestError = TooSlow(f"the body was not complete after {deadline_ms} ms")
    size, most = request.content_length, settings.max_body_bytes
    if size is not None and size > most:
        raise BodyTooLarge(f"the body is larger than {most:,} bytes: it has {size:,}")
    engine.admission.check_request(most if size is None else size, deadline_ms / 1000)  # a body in chunks declares no size
    with engine.admission.body() as add_bytes:
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                body = await _read(request, add_bytes)
                record_of(request.scope).bytes = len(body)
                late = DeadlineExceeded(f"no answer after {deadline_ms} ms")
                yield body
        except TimeoutError:
            raise late from None
        except RequestEntityTooLarge:
            raise BodyTooLarge(f"the body is larger than {most:,} bytes") from None


def check_wait(request: Request, engine: Engine, timeout_ms: int | None, images: int) -> None:
    """Raises Overloaded if the request's `images`, known once its body is read, would miss its deadline."""
    deadline_ms = min(timeout_ms or engine.settings.deadline_ms, engine.settings.deadline_ms)
    engine.admission.check_wait(images, (deadline_ms - record_of(request.scope).elapsed_ms()) / 1000)


def is_form(content_type: str) -> bool:
    return bool(parse_options_header(content_type)[0] == "multipart/form-data")


def images_of_form(body: bytes, content_type: str, field: str, most: int) -> list[bytes]:
    """The contents of all parts named `field`; or, if there is none, of the form's one file. File names and types are ignored.
    Raises MalformedRequest if the body is no form, or has not 1 to `most` such parts."""
    if not is_form(content_type):
        raise MalformedRequest(f"the body is not a form (multipart/form-data), with the field «{field}»")
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    named: list[bytes] = []
    files: list[bytes] = []  # under other names
    rest: list[bytes] = []
    try:
        # MultipartParser, built on these events, takes three times as long, as it copies in pieces of 64 KB. latin-1 decodes
        # any byte, so no file name is refused.
        with PushMultipartParser(boundary, header_charset="latin-1", max_segment_count=most + OTHER_PARTS) as parser:
            parts = rest
            for event in parser.parse(body):
                if isinstance(event, MultipartSegment):
                    parts = named if event.name == field else rest if event.filename is None else files
                    parts.append(b"")
                elif event:
                    parts[-1] += event
    except ParserLimitReached as error:
        if len(named) <= most:
            raise MalformedRequest(f"the form has over {most + OTHER_PARTS} parts, or a part with a very large head") from error
    except MultipartError as error:
        raise MalformedRequest(f"the form cannot be read: {error.args[0]}") from error
    found = files if not named and len(files) == 1 else named
    if not 1 <= len(found) <= most:
        times = "once" if most == 1 else f"1 to {most} times"
        has = "more often" if len(found) > most else f"{len(found)} times"
        other = "; several images go to /predict/batch" if most == 1 and len(found + files) > 1 else ""
        raise MalformedRequest(f"the form needs the field «{field}» {times}, it has it {has}{other}")
    return found


def image_of(body: bytes, content_type: str, field: str) -> bytes:
    """The body itself, or the image of a form. Raises MalformedRequest, as `images_of_form`."""
    return images_of_form(body, content_type, field, 1)[0] if is_form(content_type) else body


async def _read(request: Request, add_bytes: Callable[[int], None]) -> bytes:
    chunks = []
    try:
        async for chunk in request.stream():
            add_bytes(len(chunk))
            chunks.append(chunk)
    except InternalServerException:  # Litestar raises it when the client has left
        raise MalformedRequest("the client left before the body was complete") from None
    return b"".join(chunks)
