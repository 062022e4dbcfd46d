"""The clients that the README shows, each in its language, against the real service."""

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.conftest import encode, grey, running_service
from tests.test_readme import block


@pytest.mark.parametrize("language", ["python", "js"])
def test_the_clients_bear_the_token_and_come_again_when_it_is_their_turn(language: str, tmp_path: Path) -> None:
    (tmp_path / "xray.png").write_bytes(encode(grey(300, 200)))
    room = 100_000
    with running_service(token="open", queue_bytes=room, max_body_bytes=room, deadline_ms=60_000) as service:
        service.headers["Authorization"] = "Bearer open"
        command = client_command(language, tmp_path, str(service.base_url))
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer open\r\nContent-Length: {room}\r\n\r\n"
        with socket.create_connection((service.base_url.host, service.base_url.port)) as slow:
            slow.sendall(head.encode() + bytes(room - 1))  # takes all the room, and keeps it
            process = subprocess.Popen(
                [*command, tmp_path / "xray.png"],
                env={**os.environ, "MEDXFER_TOKEN": "open"},
                text=True,
                stdout=subprocess.PIPE,
            )
            while not count_of_turned_away(service):
                assert process.poll() is None
        printed, _ = process.communicate(timeout=30)
        answer = service.post("/predict", content=(tmp_path / "xray.png").read_bytes()).json()
    assert process.returncode == 0
    assert printed.splitlines() == [answer["label"], str(answer["confidence"]), *answer["warnings"]]


@pytest.mark.parametrize("language", ["python", "js"])
def test_the_clients_say_what_was_wrong(language: str, tmp_path: Path, client: httpx.Client) -> None:
    (tmp_path / "text.jpeg").write_text("not an image")
    command = [*client_command(language, tmp_path, str(client.base_url)), str(tmp_path / "text.jpeg")]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 1
    assert process.stderr.startswith("415: {")


def client_command(language: str, folder: Path, url: str) -> list[str]:
    """Of the README's client in a language, that asks the service at `url`."""
    if language == "js" and shutil.which("node") is None:
        pytest.skip("Node is not here")
    program = folder / {"python": "predict.py", "js": "predict.mjs"}[language]
    program.write_text(block(language, "Retry-After").replace("http://localhost:8000", url))
    return [{"python": sys.executable, "js": "node"}[language], str(program)]


def count_of_turned_away(service: httpx.Client) -> float:
    found = re.search(r'^medxfer_requests_total{outcome="overloaded".*} (\S+)$', service.get("/metrics").text, re.MULTILINE)
    return float(found[1]) if found else 0
