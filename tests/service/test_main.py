"""The process: how it starts, refuses to start, and stops."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

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
    assert process.stderr
    while "Uvicorn running on" not in (line := process.stderr.readline()):
        assert line, "the service did not start"
    return int(json.loads(line)["message"].split(":")[-1].split()[0])


@pytest.mark.parametrize(
    ("name", "value"), [("MEDXFER_PORT", "none"), ("MEDXFER_MODEL", "models/nowhere"), ("MEDXFER_VARIANT", "int4")]
)
def test_a_wrong_setting_ends_it_with_one_line_and_code_3(name: str, value: str) -> None:
    with started(**{name: value}) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 3
    assert errors.startswith("medxfer: ")
    assert value in errors
    assert errors.count("\n") == 1


def test_its_log_says_what_the_rule_chose_and_why() -> None:
    with started() as process:
        assert process.stderr
        ready = next(line for line in map(json.loads, process.stderr) if line["message"] == "ready")
    assert {"model", "variant", "reason", "sha256", "cpus", "lanes"} <= set(ready)


def test_an_unknown_command_is_refused_with_those_there_are() -> None:
    process = subprocess.run([sys.executable, "-m", "service", "sreve"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert process.returncode == 2
    assert "bench" in process.stderr


def test_a_port_in_use_ends_it_with_code_3() -> None:
    with started() as first, started(MEDXFER_PORT=str(port_of(first))) as second:
        _, errors = second.communicate(timeout=30)
    assert second.returncode == 3
    assert "address already in use" in errors
    assert errors.splitlines()[-1].startswith("medxfer: cannot listen on MEDXFER_HOST=127.0.0.1, MEDXFER_PORT=")


@pytest.mark.parametrize("file", ["model.json", "model.onnx", "model.int8.onnx", "SHA256SUMS"])
def test_a_damaged_model_is_not_served(tmp_path: Path, file: str) -> None:
    folder = Path(shutil.copytree(DEFAULT_MODEL, tmp_path / "model"))
    content = bytearray((folder / file).read_bytes())
    content[len(content) // 3] ^= 1
    (folder / file).write_bytes(content)
    with started(MEDXFER_MODEL=str(folder)) as process:
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 3
    assert errors.startswith("medxfer: ")
    assert errors.count("\n") == 1
    assert file in errors


def test_a_model_folder_that_is_replaced_has_no_effect_on_what_runs(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DEFAULT_MODEL, tmp_path / "model"))
    image = encode(grey(300, 260))
    with started(MEDXFER_MODEL=str(folder)) as process:
        url = f"http://127.0.0.1:{port_of(process)}/predict"
        before = httpx.post(url, content=image, trust_env=False).json()
        shutil.rmtree(folder)
        after = httpx.post(url, content=image, trust_env=False).json()
    assert (after["probabilities"], after["model"]) == (before["probabilities"], before["model"])


def test_a_second_ctrl_c_ends_it_at_once() -> None:
    with started(MEDXFER_DEADLINE_MS="60000", MEDXFER_DRAIN_SECONDS="60") as process:
        port = port_of(process)
        with socket.create_connection(("127.0.0.1", port)) as stuck:
            stuck.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
            httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).raise_for_status()
            for _ in range(2):
                process.send_signal(signal.SIGINT)
                time.sleep(0.3)
            process.communicate(timeout=15)


@pytest.mark.parametrize("level", ["debug", "info"])
def test_what_exif_says_of_a_patient_is_not_logged(level: str) -> None:
    exif = Image.Exif()
    exif[0x010F] = "SECRET"
    data = encode(Image.fromarray(grey(64, 64)), "JPEG", exif=exif)
    with started(MEDXFER_LOG_LEVEL=level) as process:
        url = f"http://127.0.0.1:{port_of(process)}/predict"
        httpx.post(url, files={"image": ("SECRET.jpg", data)}, trust_env=False).raise_for_status()
        httpx.post(f"{url}/SECRET.jpg", content=data, trust_env=False)
        process.terminate()
        _, errors = process.communicate(timeout=30)
    assert '"status":404' in errors
    assert "SECRET" not in errors


def test_nothing_is_reported_to_anyone(tmp_path: Path) -> None:
    """ONNX Runtime's reporting, where it is on, leaves an identifier in the home folder; it stays off in CI by itself."""
    home = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "CI": "", "GITHUB_ACTIONS": ""}
    with started(**home) as process:
        httpx.get(f"http://127.0.0.1:{port_of(process)}/health", trust_env=False).raise_for_status()
        process.terminate()
        process.communicate(timeout=30)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("stop", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_a_signal_loses_nothing_that_was_accepted(stop: signal.Signals, code: int) -> None:
    """Twelve requests that lack their last byte when the signal comes, and get it afterwards."""
    image = encode(grey(300, 260))
    head = f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(image)}\r\n\r\n".encode()
    with started() as process, contextlib.ExitStack() as connections:
        port = port_of(process)
        clients = [connections.enter_context(socket.create_connection(("127.0.0.1", port), 30)) for _ in range(12)]
        for client in clients:
            client.sendall(head + image[:-1])
        httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).raise_for_status()  # they were read before it
        process.send_signal(stop)
        assert process.stderr
        while "Waiting for" not in (line := process.stderr.readline()):  # until it has begun to close
            assert line
        for client in clients:
            client.sendall(image[-1:])
        answers = [client.recv(4096) for client in clients]
        assert [answer.split()[1] for answer in answers] == [b"200"] * 12
        assert all(b"connection: close" in answer for answer in answers)
        _, rest = process.communicate(timeout=30)
    assert "stopped" in rest
    assert "Traceback" not in rest
    assert process.returncode == code


def test_who_still_comes_after_the_signal_is_answered_until_nobody_comes() -> None:
    """As those do whom a balancer sends that has not yet looked. They look here, each by a connection of its own."""
    with started() as process:
        url = f"http://127.0.0.1:{port_of(process)}/health"
        process.send_signal(signal.SIGTERM)
        answers = [httpx.get(url, trust_env=False) for _ in range(10)]
        _, rest = process.communicate(timeout=30)
    assert answers[-1].status_code == 503
    assert answers[-1].headers["connection"] == "close"
    assert "stopped" in rest


def test_what_is_not_done_when_the_time_to_drain_ends_is_told_so() -> None:
    with started(MEDXFER_DRAIN_SECONDS="1", MEDXFER_DEADLINE_MS="60000") as process:
        port = port_of(process)
        with socket.create_connection(("127.0.0.1", port), 30) as stuck:
            stuck.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
            httpx.get(f"http://127.0.0.1:{port}/health", trust_env=False).raise_for_status()  # it was read before
            process.send_signal(signal.SIGTERM)
            answer = stuck.recv(4096)
        _, rest = process.communicate(timeout=30)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"application/problem+json" in answer
    assert "Traceback" not in rest


def test_a_ctrl_c_does_not_wait_for_what_is_decoded_for_nobody() -> None:
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
