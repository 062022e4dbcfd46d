"""Several processes behind one port: the real service, whose processes are killed, stopped and counted."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import psutil
import pytest

from service import machine
from tests.conftest import DEFAULT_MODEL, ROOT, running_service
from tests.service.http.helpers import PNG, metric
from tests.torture.process import serving
from tests.torture.wire import connect, exchange, get, post

REQUESTS, CLIENTS = 40, 24  # so many that either process gets some of the connections


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(("cpus", "processes"), [(1, 1), (2, 1), (8, 1), (11, 1), (12, 2), (16, 2), (32, 5), (64, 10)])
def test_up_to_eleven_cpus_have_one_process_and_more_have_one_for_six(cpus: int, processes: int) -> None:
    assert machine.processes_for(cpus) == processes


def test_processes_share_the_port_and_whichever_is_asked_adds_up_the_metrics_of_all() -> None:
    with running_service(processes=2, lanes=3) as client:
        running = client.get("/model-info").json()["running"]
        assert (running["processes"], running["lanes"]) == (2, 2)
        with contextlib.ExitStack() as stack:
            others = [stack.enter_context(httpx.Client(base_url=client.base_url, trust_env=False)) for _ in range(REQUESTS)]
            answers = [other.post("/predict", content=PNG).raise_for_status().json() for other in others]
            counts = {metric(other, 'medxfer_images_total{outcome="answered"}') for other in others}
            until(lambda: metric(client, "medxfer_lanes") == 4)
            texts = [other.get("/metrics").text for other in others[:10]]
    assert counts == {REQUESTS}
    assert len({answer["request_id"] for answer in answers}) == REQUESTS
    assert len({str(answer["probabilities"]) for answer in answers}) == 1
    for text in texts:
        assert 'medxfer_model_info{name="chest-xray-best"' in text
        assert f"medxfer_positive_probability_count {REQUESTS}.0" in text
        values = {line.split()[0]: float(line.split()[1]) for line in text.splitlines() if line.startswith("process_")}
        assert values["process_resident_memory_bytes"] > 100e6
        assert 0 <= time.time() - values["process_start_time_seconds"] < 3600


def test_both_processes_answer() -> None:
    with serving(processes=2) as service:
        before = {process.pid: sum(process.cpu_times()[:2]) for process in service.servers()}
        for _ in range(REQUESTS):
            assert exchange(service.port, post(PNG)).status == 200
        assert all(sum(process.cpu_times()[:2]) > before[process.pid] for process in service.servers())


def test_a_killed_process_is_replaced_and_loses_no_count_and_no_client_that_connects_meanwhile() -> None:
    with serving(processes=2) as service:
        for _ in range(REQUESTS):
            assert exchange(service.port, post(PNG)).status == 200
        killed = service.servers()[0]
        killed.kill()
        statuses = [exchange(service.port, post(PNG)).status for _ in range(REQUESTS)]
        until(lambda: len(service.servers()) == 2 and killed not in service.servers())
        with httpx.Client(base_url=f"http://127.0.0.1:{service.port}", trust_env=False) as client:
            answered = metric(client, 'medxfer_images_total{outcome="answered"}')
        log = service.log.read_text()
    assert statuses == [200] * REQUESTS
    assert answered == 2 * REQUESTS
    assert '"message":"process ended"' in log
    assert '"exit_code":-9' in log


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 0)])
def test_a_signal_drains_all_processes(number: signal.Signals, code: int) -> None:
    with serving(processes=2) as service, contextlib.ExitStack() as stack:
        children = service.servers()
        clients = [stack.enter_context(connect(service.port, post(PNG)[:-1])) for _ in range(CLIENTS)]
        assert all(service.is_healthy() for _ in range(CLIENTS))  # they were read before it
        service.process.send_signal(number)
        until(lambda: service.log.read_text().count("Waiting for connections to close") == 2)
        for client in clients:
            client.sendall(post(PNG)[-1:])
        answers = [client.recv(4096) for client in clients]
        assert service.process.wait(30) == code
        with pytest.raises(ConnectionRefusedError):
            exchange(service.port, get("/health"))
        log = service.log.read_text()
    assert [answer.split()[1] for answer in answers] == [b"200"] * CLIENTS
    assert (log.count('"stopped"'), "Traceback" in log) == (2, False)
    assert not any(child.is_running() for child in children)


def test_processes_whose_supervisor_is_killed_drain_and_end() -> None:
    before = set(Path("/dev/shm").glob("medxfer-metrics-*"))
    with serving(processes=2) as service:
        children = service.servers()
        service.process.kill()
        gone, alive = psutil.wait_procs(children, timeout=30)
    assert (len(gone), alive) == (2, [])
    assert set(Path("/dev/shm").glob("medxfer-metrics-*")) <= before


def test_a_port_in_use_ends_several_processes_with_code_3_even_where_they_could_share_it() -> None:
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        environment = {"MEDXFER_PROCESSES": "2", "MEDXFER_PORT": port, "MEDXFER_MODEL": str(DEFAULT_MODEL)}
        command = [sys.executable, "-m", "service"]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
        )
    assert done.returncode == 3
    assert f"MEDXFER_PORT={port} in 2 processes: Address already in use" in done.stderr


def test_a_process_that_could_never_start_ends_all() -> None:
    code = """if True:
        import sys, time
        from service.supervisor import Supervisor, listen
        sockets = listen("127.0.0.1", 0, 1) + listen("127.0.0.1", 0, 1)
        sys.exit(Supervisor(lambda slot, listening, parent: time.sleep(60) if slot else 3, sockets, 3).run())"""
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, timeout=30, check=False).returncode == 3
