"""The client programs in service/README.md, each in its language, against the real service."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.conftest import encode, grey, running_service
from tests.documents import SERVICE, block
from tests.service.http.helpers import metric

ROOM = 100_000  # bytes of bodies
OVERLOADED = 'medxfer_requests_total{outcome="overloaded"'
PROGRAMS = {"python": [sys.executable, "predict.py"], "js": ["node", "predict.mjs"]}
each_language = pytest.mark.parametrize("language", PROGRAMS)


@pytest.fixture(scope="module")
def service() -> Iterator[httpx.Client]:
    with running_service(token="open", queue_bytes=ROOM, max_body_bytes=ROOM, deadline_ms=60_000) as service:
        service.headers["Authorization"] = "Bearer open"
        yield service


def start(language: str, folder: Path, service: httpx.Client, content: bytes) -> "subprocess.Popen[str]":
    interpreter, program = PROGRAMS[language]
    if shutil.which(interpreter) is None:
        pytest.skip(f"{interpreter} is missing")
    url = str(service.base_url).rstrip("/")
    (folder / program).write_text(block(SERVICE, language, "Retry-After").replace("http://localhost:8000", url))
    (folder / "image").write_bytes(content)
    return subprocess.Popen(
        [interpreter, program, "image"], cwd=folder, env={**os.environ, "MEDXFER_TOKEN": "open"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


@each_language
def test_a_client_sends_the_token_and_retries_after_429(language: str, tmp_path: Path, service: httpx.Client) -> None:
    image, before = encode(grey(300, 200)), metric(service, OVERLOADED)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer open\r\nContent-Length: {ROOM}\r\n\r\n"
    with socket.create_connection((service.base_url.host, service.base_url.port)) as slow:
        slow.sendall(head.encode() + bytes(ROOM - 1))  # takes all the room, and keeps it
        process = start(language, tmp_path, service, image)
        while metric(service, OVERLOADED) == before:
            assert process.poll() is None
    printed, _ = process.communicate(timeout=30)
    answer = service.post("/predict", content=image).json()
    assert process.returncode == 0
    abstains = [f"do not use this answer: {', '.join(answer['reasons'])}"] * answer["abstain"]
    assert answer["abstain"], "the image is a drawing, and both lines should be tried"
    assert printed.splitlines() == [*abstains, answer["label"], str(answer["confidence"]), *answer["warnings"]]


@each_language
def test_a_client_shows_the_problem(language: str, tmp_path: Path, service: httpx.Client) -> None:
    process = start(language, tmp_path, service, b"not an image")
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 1
    assert errors.startswith("415: {")
