"""HTTP/1.1 as bytes, so that a test can send malformed requests: blocking for one request, asyncio for many at once."""

import asyncio
import contextlib
import http.client
import socket
from typing import NamedTuple

NO_ANSWER = 0  # stands for the status when the connection ended without an answer; the log has it, too
SECONDS = 20.0  # time limit for one answer
HOST = "127.0.0.1"
BOUNDARY = "torture"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


class Answer(NamedTuple):
    """`headers`: names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


def request(method: str, path: str, *headers: str, body: bytes = b"", length: bool = True) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers, *([f"Content-Length: {len(body)}"] if length else [])]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def get(path: str, *headers: str) -> bytes:
    return request("GET", path, *headers, length=False)


def post(body: bytes, *headers: str, path: str = "/predict") -> bytes:
    return request("POST", path, *headers, body=body)


def chunked(*chunks: bytes, size: str = "{:x}") -> bytes:
    body = b"".join(size.format(len(chunk)).encode() + b"\r\n" + chunk + b"\r\n" for chunk in (*chunks, b""))
    return request("POST", "/predict", "Transfer-Encoding: chunked", length=False) + body


def part(content: bytes, name: str = "image", filename: str | None = "x.png", *headers: str) -> bytes:
    file = "" if filename is None else f'; filename="{filename}"'
    lines = [f"--{BOUNDARY}", f'Content-Disposition: form-data; name="{name}"{file}', *headers, "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + content + b"\r\n"


def form(*parts: bytes, path: str = "/predict", content_type: str = FORM) -> bytes:
    return post(b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), f"Content-Type: {content_type}", path=path)


def connect(port: int, content: bytes = b"") -> socket.socket:
    """Opens a connection and sends `content` on it. Raises OSError if nobody listens."""
    connection = socket.create_connection((HOST, port), timeout=SECONDS)
    with contextlib.suppress(ConnectionError):  # the service may refuse before all of it is sent, and answer nevertheless
        connection.sendall(content)
    return connection


def exchange(port: int, content: bytes) -> Answer:
    """Sends one request on a new connection. Raises OSError if nobody listens, TimeoutError if no answer comes in time."""
    with connect(port, content) as connection:
        return read(connection, head_only=content.startswith(b"HEAD "))


def read(connection: socket.socket, head_only: bool = False) -> Answer:
    response = http.client.HTTPResponse(connection, method="HEAD" if head_only else "GET")
    try:
        response.begin()
        return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
    except (http.client.BadStatusLine, ConnectionError):  # closed without an answer (RemoteDisconnected is both)
        return Answer(NO_ANSWER, {}, b"")
    finally:
        response.close()


class Connection:
    """A connection that is opened when it is needed, and kept open as long as the service keeps it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, content: bytes) -> Answer:
        """Raises TimeoutError if no answer comes within `SECONDS`, OSError if nobody listens."""
        if self._streams and self._streams[0].at_eof():  # the service has closed it since the last request
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self.port)
        reader, writer = self._streams
        answer = Answer(NO_ANSWER, {}, b"")
        try:
            writer.write(content)
            answer = await asyncio.wait_for(read_async(reader, content.startswith(b"HEAD ")), SECONDS)
        finally:
            if answer.status == NO_ANSWER or answer.headers.get("connection") == "close":
                self.close()
        return answer

    def close(self) -> None:
        if self._streams:
            self._streams[1].transport.abort()
            self._streams = None


async def read_async(reader: asyncio.StreamReader, head_only: bool = False) -> Answer:
    """Raises ValueError if the answer is not HTTP/1.1."""
    try:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
        version, status = first.split()[:2]
        if version != "HTTP/1.1":
            raise ValueError(f"not an HTTP/1.1 answer: {first!r}")
        if int(status) == http.HTTPStatus.CONTINUE:
            return await read_async(reader, head_only)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        without_body = head_only or int(status) < 200 or int(status) in (204, 304)
        return Answer(int(status), headers, b"" if without_body else await reader.readexactly(int(headers["content-length"])))
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(NO_ANSWER, {}, b"")
