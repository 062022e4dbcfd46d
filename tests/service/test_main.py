import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from PIL import Image

from tests.conftest import DEFAULT_MODEL, ROOT, encode, grey
from tests.service.http.helpers import PNG, slow_image
from tests.torture.process import Service, serving
from tests.torture.wire import connect, exchange, form, get, part, post


def run(**environment: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "service"]
    return subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=30)


def wait_until_it_closes(service: Service) -> None:
    while "Waiting for connections to close" not in service.log.read_text():
        assert service.process.poll() is None
        time.sleep(0.02)


def log_at_end(service: Service) -> str:
    service.process.wait(30)
    return service.log.read_text()


@pytest.mark.parametrize("setting", ["MEDXFER_PORT=none", "MEDXFER_MODEL=models/nowhere", "MEDXFER_VARIANT=int4"])
def test_a_wrong_setting_ends_the_service_with_one_line_and_code_3(setting: str) -> None:
    name, _, value = setting.partition("=")
    process = run(**{name: value})
    assert process.returncode == 3
    assert re.fullmatch(f"medxfer: .*{value}.*\n", process.stderr)


def test_a_signal_that_comes_while_it_loads_is_caught_as_the_first_process_of_a_container_needs_it(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "service"]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, cwd=ROOT, stderr=log) as process:
        while "onnxruntime" not in Path(f"/proc/{process.pid}/maps").read_text():
            time.sleep(0.001)
        [caught] = re.findall(r"SigCgt:\s*(\w+)", Path(f"/proc/{process.pid}/status").read_text())
        process.terminate()
        assert process.wait(30) == -signal.SIGTERM
    assert int(caught, 16) >> signal.SIGTERM - 1 & 1
    assert (tmp_path / "log").read_text() == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_a_signal_ends_a_start_whose_model_folder_does_not_answer(tmp_path: Path, number: signal.Signals, code: int) -> None:
    folder = Path(shutil.copytree(DEFAULT_MODEL, tmp_path / "model"))
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")  # reading it waits for ever, as on a disk of the network that is gone
    command = [sys.executable, "-m", "service"]
    environment = {**os.environ, "MEDXFER_MODEL": str(folder)}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE) as process:
        with (folder / "model.onnx").open("wb"):  # opens once the service reads
            time.sleep(1)  # by then the libraries are imported too, and it waits for the model
            process.send_signal(number)
            assert process.wait(30) == code
        assert process.stderr and process.stderr.read() == b""


def test_the_collector_works_again_once_all_is_loaded() -> None:
    check = "import gc; from service import memory; memory.prepare(); memory.settle(); assert gc.isenabled()"
    subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)


def test_a_port_in_use_ends_the_service_with_code_3() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = run(MEDXFER_PORT=str(port))
    assert process.returncode == 3
    assert "address already in use" in process.stderr
    assert process.stderr.splitlines()[-1] == f"medxfer: cannot listen on MEDXFER_HOST=127.0.0.1, MEDXFER_PORT={port}"


def test_removing_the_model_folder_does_not_change_a_running_service(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DEFAULT_MODEL, tmp_path / "model"))
    with serving(model=folder) as service:
        before = json.loads(exchange(service.port, post(PNG)).body)
        shutil.rmtree(folder)
        after = json.loads(exchange(service.port, post(PNG)).body)
    assert (after["probabilities"], after["model"]) == (before["probabilities"], before["model"])


def test_exif_and_file_names_are_not_logged_and_nothing_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime's telemetry leaves an identifier in the home folder. It is off in CI, hence the empty variables."""
    for name, value in {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path), "CI": "", "GITHUB_ACTIONS": ""}.items():
        monkeypatch.setenv(name, value)
    exif = Image.Exif()
    exif[0x010F] = "SECRET"
    data = encode(Image.fromarray(grey(64, 64)), "JPEG", exif=exif)
    with serving(log_level="debug") as service:
        assert exchange(service.port, form(part(data, filename="SECRET.jpg"))).status == 200
        assert exchange(service.port, post(data, path="/predict/SECRET.jpg")).status == 404
        service.process.terminate()
        log = log_at_end(service)
    assert '"status":404' in log
    assert "SECRET" not in log
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_a_signal_loses_nothing_that_was_accepted_or_comes_soon_after(number: signal.Signals, code: int) -> None:
    """Twelve requests lack their last byte when the signal comes. A load balancer asks for the health until it sees it."""
    with serving() as service, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(service.port, post(PNG)[:-1])) for _ in range(12)]
        assert service.is_healthy()  # they were read before it
        service.process.send_signal(number)
        for _ in range(10):
            time.sleep(0.03)  # a service that closed at once would refuse the last of these connections
            health = exchange(service.port, get("/health"))
        wait_until_it_closes(service)
        for client in clients:
            client.sendall(post(PNG)[-1:])
        answers = [client.recv(4096) for client in clients]
        log = log_at_end(service)
    assert (health.status, health.headers["connection"]) == (503, "close")
    assert [answer.split()[1] for answer in answers] == [b"200"] * 12
    assert all(b"connection: close" in answer for answer in answers)
    assert ("stopped" in log, "Traceback" in log, service.process.returncode) == (True, False, code)


def test_a_request_that_comes_while_the_service_drains_and_has_no_cpu_is_answered() -> None:
    with serving() as service, contextlib.ExitStack() as stack:
        service.process.terminate()
        while exchange(service.port, get("/health")).status == 200:
            pass
        service.process.send_signal(signal.SIGSTOP)
        clients = [stack.enter_context(connect(service.port, post(PNG))) for _ in range(4)]
        time.sleep(1)  # the time after which the service stops listening has passed
        service.process.send_signal(signal.SIGCONT)
        assert [client.recv(4096).split()[1] for client in clients] == [b"200"] * 4


def test_a_request_that_is_unfinished_when_the_time_to_drain_ends_is_answered_503() -> None:
    with serving(drain_seconds=1, deadline_ms=60_000) as service, connect(service.port, post(PNG)[:-1]) as connection:
        assert service.is_healthy()  # the service has begun to read the request
        service.process.terminate()
        answer = connection.recv(4096)
        log = log_at_end(service)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"application/problem+json" in answer
    assert "Traceback" not in log


def test_a_second_ctrl_c_ends_the_service_before_the_time_to_drain() -> None:
    with serving(drain_seconds=600, deadline_ms=600_000) as service, connect(service.port, post(PNG)[:-1]):
        assert service.is_healthy()  # the service has begun to read the request
        service.process.send_signal(signal.SIGINT)
        wait_until_it_closes(service)
        service.process.send_signal(signal.SIGINT)
        service.process.wait(30)


def test_a_ctrl_c_does_not_wait_for_images_whose_clients_have_gone() -> None:
    with serving(lanes=1) as service:
        for _ in range(8):  # two seconds of decoding and more
            with contextlib.suppress(httpx.TimeoutException):
                httpx.post(f"http://127.0.0.1:{service.port}/predict", content=slow_image(), timeout=0.1, trust_env=False)
        service.process.send_signal(signal.SIGINT)
        log = log_at_end(service)
    assert (service.process.returncode, "stopped" in log) == (0, True)
