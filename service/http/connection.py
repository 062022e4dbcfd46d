"""uvicorn's HTTP/1.1 protocol with deadlines for every wait, limits for heads, and cancellation when a client leaves.
uvicorn's only timer runs between requests. Without others, a connection that sends nothing or half a request, or never reads
its answer, stays open for ever (Kludex/uvicorn#157)."""

import asyncio
from collections.abc import Callable

import httptools
import msgspec
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.errors import HeadTooLarge, MalformedRequest, RequestError, TooSlow
from service.http.problems import problem_of

HEAD_SECONDS = 5.0  # from the connection, or the first byte of a later request, to the end of its head
GRACE_SECONDS = 1.0  # for the app to answer 408 itself; for the last bytes after a close
ANSWER_SECONDS = 10.0  # after the deadline, for the client to read the answer
LINGER_SECONDS = 1.0  # for which a connection without a request stays open once the service is stopping
MAX_HEAD_BYTES = 32_768
MAX_HEADERS = 100
MAX_CHUNKS = 10_000  # of a body; more are allowed if they have MIN_CHUNK_BYTES on average
MIN_CHUNK_BYTES = 256
MAX_PIPELINED = 16  # requests that a client may send ahead of the first answer
INTERIM = b"HTTP/1.1 100 "  # the answer to `Expect: 100-continue`, before that to the request
CLIENT_LEFT = "the client left"  # the argument of the CancelledError

MALFORMED = MalformedRequest("this is not HTTP/1.1")
TOO_MANY = MalformedRequest(f"the body comes in over {MAX_CHUNKS:,} tiny chunks")
TOO_SLOW = TooSlow(f"its head was not complete after {HEAD_SECONDS:g} s")
TOO_LARGE = HeadTooLarge(f"a request's head may have {MAX_HEAD_BYTES:,} bytes and {MAX_HEADERS} headers")


class DeadlineProtocol(HttpToolsProtocol):
    """One connection. `deadline_seconds` is the app's, from a head to its answer. `note_refusal` logs the status of a request
    that is refused here, and returns its request id. The one timer checks whether the connection has expired."""

    deadline_seconds: float
    note_refusal: Callable[[int], str]

    # Events of the connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn
        super().connection_made(transport)
        self._task: asyncio.Task[None] | None = None  # of the request in work
        self._running: RequestResponseCycle | None = None
        self._in_head = False
        self._asks_to_upgrade = False
        self._body_is_due = False
        self._head_bytes = 0
        self._silent_bytes = 0  # since the last event of the parser
        self._refusal: RequestError = MALFORMED
        self._refused = False
        self._allow(HEAD_SECONDS)
        self._timer = self.loop.call_later(HEAD_SECONDS, self._look)

    def data_received(self, data: bytes) -> None:
        if self._refused:  # discard: with bytes unread, closing would reset the connection before the client reads the refusal
            return
        self._silent_bytes += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(self._refusal)
        # A name or value that never ends, in a head or in the trailers of a chunked body, causes no event of the parser.
        if self._silent_bytes > MAX_HEAD_BYTES and not self._refused:
            self._refuse(TOO_LARGE)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._timer.cancel()
        self._cancel()

    def shutdown(self) -> None:
        """Like uvicorn's, but a client that is about to send another request still gets an answer, with `connection: close`."""
        if self._is_working():
            super().shutdown()
        else:
            self.loop.call_later(LINGER_SECONDS, super().shutdown)

    def _feed(self, data: bytes) -> None:
        """Ignores requests to upgrade to another protocol (RFC 9110, 7.8): a new parser continues without the two headers."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            method, version = self.parser.get_method(), self.parser.get_http_version().encode()
            kept = [header for header in self.headers if header[0] not in (b"connection", b"upgrade")]
            head = b"%b %b HTTP/%b\r\n" % (method, self.url, version) + b"".join(b"%b: %b\r\n" % header for header in kept)
            self._asks_to_upgrade = False
            self.parser = httptools.HttpRequestParser(self)
            self._feed(head + b"\r\n" + data[upgrade.args[0] :])

    # Events of the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head, self._body_is_due, self._head_bytes = True, True, 0
        self._chunks, self._body_bytes = 0, 0
        if not self._is_working():
            self._allow(HEAD_SECONDS)

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._count(len(name) + len(value))

    def on_headers_complete(self) -> None:
        if len(self.pipeline) >= MAX_PIPELINED or self.parser.get_method() == b"CONNECT":
            raise httptools.HttpParserError  # the requests before it are answered
        self._asks_to_upgrade = self.parser.should_upgrade()
        if self._asks_to_upgrade:
            return
        super().on_headers_complete()
        self._in_head, self._silent_bytes = False, 0

    def on_chunk_header(self) -> None:
        self._chunks += 1
        if self._chunks > MAX_CHUNKS + self._body_bytes // MIN_CHUNK_BYTES:
            self._refusal = TOO_MANY
            raise httptools.HttpParserError

    def on_body(self, body: bytes) -> None:
        self._silent_bytes = 0
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._asks_to_upgrade:
            return
        super().on_message_complete()
        self._body_is_due, self._silent_bytes = False, 0
        if self._is_working() and not self.pipeline:
            self.flow.resume_reading()  # uvicorn would resume with the answer, and notice only then that the client has left
            self._allow(self.deadline_seconds + ANSWER_SECONDS)

    # The work for a request

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._allow(self.deadline_seconds + (GRACE_SECONDS if cycle.more_body else ANSWER_SECONDS))
        self._running = cycle
        self._answer = OneWrite(cycle.transport)
        cycle.transport = self._answer  # type: ignore[assignment]
        self._task = self.loop.create_task(cycle.run_asgi(app))
        self._task.add_done_callback(self.tasks.discard)
        self.tasks.add(self._task)

    def on_response_complete(self) -> None:
        self._answer.flush()
        if not self._body_is_due:  # the rest of a body that was answered early is discarded until its deadline
            self._allow(self.timeout_keep_alive + GRACE_SECONDS)
        super().on_response_complete()

    def _allow(self, seconds: float) -> None:
        self._expires = self.loop.time() + seconds

    def _look(self) -> None:
        left = self._expires - self.loop.time()
        if left <= 0:
            left = GRACE_SECONDS
            self._expire()
        self._look_after(min(left, HEAD_SECONDS))  # the deadline may become earlier meanwhile

    def _look_after(self, seconds: float) -> None:
        self._timer.cancel()
        self._timer = self.loop.call_later(seconds, self._look)

    def _expire(self) -> None:
        if self.transport.is_closing() or self._refused or self._is_working():
            self.transport.abort()
        elif self._in_head:
            self._refuse(TOO_SLOW)
        else:
            self.transport.close()

    def _is_working(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _cancel(self) -> None:
        """Cancels the request in work, since its client has left."""
        if self._task and self._running and not self._running.response_complete:
            self._running.disconnected = True  # uvicorn does so for the newest request alone
            self._task.cancel(CLIENT_LEFT)

    def _count(self, size: int) -> None:
        """Raises HttpParserError if the head is too large; `data_received` then refuses the request."""
        self._head_bytes += size
        self._silent_bytes = 0
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._refusal = TOO_LARGE
            raise httptools.HttpParserError

    def _refuse(self, refusal: RequestError) -> None:
        """Answers what never reaches the app. Sends nothing while an earlier request on the connection awaits its response."""
        self._refused = True
        if self._is_working() and (self._in_head or self.pipeline or self.cycle.response_started):
            self.cycle.keep_alive = False
            return
        self._cancel()  # the app may already run for a request whose body is malformed
        request_id = self.note_refusal(refusal.status)
        body = msgspec.json.encode(problem_of(refusal, request_id))
        head = f"content-type: application/problem+json\r\ncontent-length: {len(body)}\r\nx-request-id: {request_id}\r\n"
        self.transport.write(STATUS_LINE[refusal.status] + head.encode() + b"connection: close\r\n\r\n" + body)
        self.transport.write_eof()
        self._allow(GRACE_SECONDS)
        self._look_after(GRACE_SECONDS)


class OneWrite:
    """What a cycle uses of its transport. It keeps an answer's head until the body follows, so that both leave by one call of
    the system, where uvicorn makes two."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None  # until it is known; empty once it was sent

    def write(self, data: bytes) -> None:
        if self._head is None and not data.startswith(INTERIM):
            self._head = data
        else:
            self._transport.write((self._head or b"") + data)
            self._head = self._head and b""

    def flush(self) -> None:
        """Sends a head that no body follows."""
        if self._head:
            self.write(b"")

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self.flush()
        self._transport.close()


def protocol(deadline_seconds: float, note_refusal: Callable[[int], str]) -> type[HttpToolsProtocol]:
    attributes = {"deadline_seconds": deadline_seconds, "note_refusal": staticmethod(note_refusal)}
    return type("Protocol", (DeadlineProtocol,), attributes)
