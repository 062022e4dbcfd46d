"""HTTP/1.1 as bytes, so that a test can send malformed requests: blocking for one request, asyncio for many at once."""

import asyncio
import contextlib
import http.client
import socket
from typing import NamedTuple

NO_ANSWER = 0  # stands for the status if the connection ends without an answer, or none comes in time; the log has it, too
SECONDS = 20.0  # time limit for one answer
HOST = "127.0.0.1"
BOUNDARY = "torture"
FORM = f"multipart/form-data; boundary={BOUNDARY}"


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]  # names in lower case
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
    connection = socket.create_connection((HOST, port), timeout=SECONDS)
    with contextlib.suppress(ConnectionError):  # the service may refuse before all of it is sent, and answer nevertheless
        connection.sendall(content)
    return connection


def exchange(port: int, content: bytes) -> Answer:
    with connect(port, content) as connection:
        return read(connection, head_only=content.startswith(b"HEAD "))


def read(connection: socket.socket, head_only: bool = False) -> Answer:
    with contextlib.closing(http.client.HTTPResponse(connection, method="HEAD" if head_only else "GET")) as response:
        with contextlib.suppress(http.client.BadStatusLine, OSError):  # closed, reset, or nothing in time
            response.begin()
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, response.read())
        return Answer(NO_ANSWER, {}, b"")


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
