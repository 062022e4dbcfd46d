"""HTTP/1.1 as bytes, so that what is sent can be as wrong as a test wants it: blocking for one request, asyncio for many."""

import asyncio
import contextlib
import http.client
import socket
from typing import NamedTuple

NO_ANSWER = 0  # in place of a status: the connection ended without one
SECONDS = 20.0  # that an answer may take
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
    disposition = f'Content-Disposition: form-data; name="{name}"' + (
        f'; filename="{filename}"' if filename is not None else ""
    )
    lines = [f"--{BOUNDARY}", disposition, *headers, "", ""]
    return "\r\n".join(lines).encode("utf-8", "surrogateescape") + content + b"\r\n"


def form(*parts: bytes, path: str = "/predict", content_type: str = FORM) -> bytes:
    return post(b"".join(parts) + f"--{BOUNDARY}--\r\n".encode(), f"Content-Type: {content_type}", path=path)


def connect(port: int, seconds: float = SECONDS) -> socket.socket:
    return socket.create_connection((HOST, port), timeout=seconds)


def exchange(port: int, content: bytes, seconds: float = SECONDS) -> Answer:
    """One request on a connection of its own. Raises OSError: nobody listens, or nothing came in time."""
    with connect(port, seconds) as connection:
        with contextlib.suppress(ConnectionError):  # refused before all of it was sent: the answer is there nevertheless
            connection.sendall(content)
        return read(connection, content[:5] == b"HEAD ")


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
    """Kept alive as long as the service does; opened when it is needed."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, content: bytes) -> Answer:
        """Raises TimeoutError: nothing came in `SECONDS`. Raises OSError: nobody listens."""
        if self._streams and self._streams[0].at_eof():  # the service has closed it meanwhile
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection(HOST, self.port)
        reader, writer = self._streams
        try:
            writer.write(content)
            answer = await asyncio.wait_for(read_async(reader, content[:5] == b"HEAD "), SECONDS)
        except BaseException:
            self.close()
            raise
        if answer.status == NO_ANSWER or answer.headers.get("connection") == "close":
            self.close()
        return answer

    def close(self) -> None:
        if self._streams:
            self._streams[1].transport.abort()
            self._streams = None


async def read_async(reader: asyncio.StreamReader, head_only: bool = False) -> Answer:
    try:
        while (answer := await _read_one(reader, head_only)).status == http.HTTPStatus.CONTINUE:
            pass
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(NO_ANSWER, {}, b"")
    return answer


async def _read_one(reader: asyncio.StreamReader, head_only: bool) -> Answer:
    """Raises ValueError: what came is not HTTP."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")[:-2]
    version, status = first.split()[:2]
    if version != "HTTP/1.1":
        raise ValueError(f"no HTTP/1.1 answer: {first!r}")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    without_body = head_only or int(status) < 200 or int(status) in (204, 304)
    body = b"" if without_body else await reader.readexactly(int(headers["content-length"]))
    return Answer(int(status), headers, body)
