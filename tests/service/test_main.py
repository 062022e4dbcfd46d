"""The process of the service: how it starts, refuses to start, and stops."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.conftest import DEFAULT_MODEL, ROOT, encode, free_port, grey


@contextlib.contextmanager
def started(**settings: str) -> Iterator["subprocess.Popen[str]"]:
    environment = {**os.environ, "MEDXFER_PORT": str(free_port()), "MEDXFER_MODEL": str(DEFAULT_MODEL)} | settings
    command = [sys.executable, "-m", "service"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()  # if a test has failed half way


def port_of(process: "subprocess.Popen[str]") -> int:
    """Read from its log, once it listens."""
    return int(wait_for(process, "Uvicorn running on")["message"].split(":")[-1].split()[0])


def wait_for(process: "subprocess.Popen[str]", message: str) -> dict[str, Any]:  # Any: the fields of a line
    """Waits for this line of the log."""
    assert process.stderr
    while message not in (line := process.stderr.readline()):
        assert line, f"the service ended before it logged «{message}»"
    return dict(json.loads(line))


@contextlib.contextmanager
def unfinished_request(port: int) -> Iterator[socket.socket]:
    """A connection whose request the service has begun to read. Its body never ends."""
    with socket.create_connection(("127.0.0.1", port), 30) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).raise_for_status()  # it is answered after that was read
        yield connection


@pytest.mark.parametrize(
    ("name", "value"), [("MEDXFER_PORT", "none"), ("MEDXFER_MODEL", "models/nowhere"), ("MEDXFER_VARIANT", "int4")]
)
def test_a_wrong_setting_ends_the_service_with_one_line_and_code_3(name: str, value: str) -> None:
    with started(**{name: value}) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 3
    assert errors.startswith("medxfer: ")
    assert value in errors
    assert errors.count("\n") == 1


def test_the_log_names_the_variant_and_the_reason_for_it() -> None:
    with started() as process:
        assert {"model", "variant", "reason", "sha256", "cpus", "lanes"} <= set(wait_for(process, '"ready"'))


def test_an_unknown_command_is_refused_with_those_there_are() -> None:
    process = subprocess.run([sys.executable, "-m", "service", "sreve"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert "predict" in process.stderr


def test_a_port_in_use_ends_the_service_with_code_3() -> None:
    with started() as first, started(MEDXFER_PORT=str(port_of(first))) as second:
        _, errors = second.communicate(timeout=30)
    assert second.returncode == 3
    assert "address already in use" in errors
    assert errors.splitlines()[-1].startswith("medxfer: cannot listen on MEDXFER_HOST=127.0.0.1, MEDXFER_PORT=")


def test_removing_the_model_folder_does_not_change_a_running_service(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DEFAULT_MODEL, tmp_path / "model"))
    image = encode(grey(300, 260))
    with started(MEDXFER_MODEL=str(folder)) as process:
        url = f"http://127.0.0.1:{port_of(process)}/predict"
        before = httpx.post(url, content=image, trust_env=False).json()
        shutil.rmtree(folder)
        after = httpx.post(url, content=image, trust_env=False).json()
    assert (after["probabilities"], after["model"]) == (before["probabilities"], before["model"])


def test_a_second_ctrl_c_ends_the_service_before_the_time_to_drain() -> None:
    with started(MEDXFER_DEADLINE_MS="600000", MEDXFER_DRAIN_SECONDS="600") as process, unfinished_request(port_of(process)):
        process.send_signal(signal.SIGINT)
        wait_for(process, "Waiting for")  # it has begun to close
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


def test_exif_and_file_names_are_not_logged() -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRET"
    data = encode(Image.fromarray(grey(64, 64)), "JPEG", exif=exif)
    with started(MEDXFER_LOG_LEVEL="debug") as process:
        url = f"http://127.0.0.1:{port_of(process)}/predict"
        httpx.post(url, files={"image": ("SECRET.jpg", data)}, trust_env=False).raise_for_status()
        httpx.post(f"{url}/SECRET.jpg", content=data, trust_env=False)
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert '"status":404' in errors
    assert "SECRET" not in errors


def test_nothing_is_reported_to_anyone(tmp_path: Path) -> None:
    """ONNX Runtime's telemetry leaves an identifier in the home folder. It is off in CI, hence the empty variables."""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "CI": "", "GITHUB_ACTIONS": ""}
    with started(**home) as process:
        httpx.get(f"http://127.0.0.1:{port_of(process)}/health", trust_env=False).raise_for_status()
        process.terminate()
        process.communicate(timeout=30)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_a_signal_loses_nothing_that_was_accepted(stop: signal.Signals, code: int) -> None:
    """Twelve requests lack their last byte when the signal comes, and get it afterwards."""
    image = encode(grey(300, 260))
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(image)}\r\n\r\n".encode()
    with started() as process, contextlib.ExitStack() as connections:
        port = port_of(process)
        clients = [connections.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in range(12)]
        for client in clients:
            client.sendall(head + image[:-1])
        httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).raise_for_status()  # they were read before it
        process.send_signal(stop)
        wait_for(process, "Waiting for")  # it has begun to close
        for client in clients:
            client.sendall(image[-1:])
        answers = [client.recv(4096) for client in clients]
        assert [answer.split()[1] for answer in answers] == [b"200"] * 12
        assert all(b"connection: close" in answer for answer in answers)
        _, rest = process.communicate(timeout=30)
    assert "stopped" in rest
    assert "Traceback" not in rest
    assert process.returncode == code


def test_requests_after_the_signal_are_answered_until_none_come() -> None:
    """A load balancer sends requests until it has looked at the service's health. Each comes on a connection of its own."""
    with started() as process:
        url = f"http://127.0.0.1:{port_of(process)}/health"
        process.send_signal(signal.SIGTERM)
        answers = [httpx.get(url, trust_env=False) for _ in range(10)]
        _, rest = process.communicate(timeout=30)
    assert answers[-1].status_code == 503
    assert answers[-1].headers["connection"] == "close"
    assert "stopped" in rest


def test_a_request_that_is_unfinished_when_the_time_to_drain_ends_is_answered_503() -> None:
    with started(MEDXFER_DRAIN_SECONDS="1", MEDXFER_DEADLINE_MS="60000") as process:
        with unfinished_request(port_of(process)) as connection:
            process.send_signal(signal.SIGTERM)
            answer = connection.recv(4096)
        _, rest = process.communicate(timeout=30)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"application/problem+json" in answer
    assert "Traceback" not in rest


def test_a_ctrl_c_does_not_wait_for_images_whose_clients_have_gone() -> None:
    slow = encode(Image.new("RGBA", (6300, 6300)), compress_level=1)
    with started(MEDXFER_LANES="1") as process:
        port = port_of(process)
        for _ in range(8):  # two seconds of decoding and more
            with contextlib.suppress(httpx.TimeoutException):
                httpx.post(f"http://127.0.0.1:{port}/predict", content=slow, timeout=0.1, trust_env=False)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=30)
    assert process.returncode == 0
    assert "stopped" in rest
