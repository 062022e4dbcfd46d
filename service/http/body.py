"""Reads request bodies within the bounds of admission and of one deadline, and the images of forms (multipart/form-data)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, TypeAlias

from litestar.params import HeaderParameter
from litestar.types import Receive
from multipart import MultipartError, MultipartSegment, ParserLimitReached, PushMultipartParser, parse_options_header

from service.engine.engine import Engine
from service.errors import BodyTooLarge, DeadlineExceeded, MalformedRequest, RequestError, TooSlow, UnsupportedEncoding
from service.http.record import RequestRecord

OTHER_PARTS = 3  # that a form may have beside its images

TimeoutMs: TypeAlias = Annotated[
    int | None,
    HeaderParameter(name="X-Request-Timeout-Ms", ge=1, description="Milliseconds; shortens the service's deadline."),
]


@asynccontextmanager
async def read_body(record: RequestRecord, receive: Receive, engine: Engine, timeout_ms: int | None) -> AsyncIterator[bytes]:
    """Yields the whole body. The deadline holds for what is done within the context, too. Raises UnsupportedEncoding,
    BodyTooLarge, Overloaded, MalformedRequest, TooSlow (the body came too late) and DeadlineExceeded (the answer did)."""
    if (encoding := record.header(b"content-encoding", "identity")).lower() != "identity":
        raise UnsupportedEncoding(f"Content-Encoding is {encoding[:20]!r}; bodies are taken as they are")
    settings = engine.settings
    deadline_ms = min(timeout_ms or settings.deadline_ms, settings.deadline_ms)
    late: RequestError = TooSlow(f"the body was not complete after {deadline_ms} ms")
    most = settings.max_body_bytes
    size = int(record.headers.get(b"content-length", most))  # a body in chunks declares no size
    if size > most:
        raise BodyTooLarge(f"the body is larger than {most:,} bytes: it has {size:,}")
    engine.admission.check_request(size, deadline_ms / 1000)
    with engine.admission.body() as add_bytes:
        try:
            async with asyncio.timeout(deadline_ms / 1000):
                body = await _read(receive, add_bytes, most)
                record.body_bytes = len(body)
                late = DeadlineExceeded(f"no answer after {deadline_ms} ms")
                yield body
        except TimeoutError:
            raise late from None


def check_wait(record: RequestRecord, engine: Engine, timeout_ms: int | None, images: int) -> None:
    """Raises Overloaded if the request's `images`, known once its body is read, would miss its deadline."""
    deadline_ms = min(timeout_ms or engine.settings.deadline_ms, engine.settings.deadline_ms)
    engine.admission.check_wait(images, (deadline_ms - record.elapsed_ms()) / 1000)


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


async def _read(receive: Receive, add_bytes: Callable[[int], None], most: int) -> bytes:
    """Raises BodyTooLarge above `most` bytes, MalformedRequest, and what `add_bytes` raises."""
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise MalformedRequest("the client left before the body was complete")
        chunk, more = message["body"], message["more_body"]
        size += len(chunk)
        if size > most:
            raise BodyTooLarge(f"the body is larger than {most:,} bytes")
        add_bytes(len(chunk))
        chunks.append(chunk)
    return b"".join(chunks)
