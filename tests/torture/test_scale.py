"""Replicas behind HAProxy, as compose.yaml starts them: what is lost when one of them ends, and that nothing is sent twice."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import httpx
import pytest

from tests.conftest import encode, free_port, grey
from tests.engine.compose import Compose, docker, log, running

CLIENTS = 6
REQUESTS = 60  # answered before, and again after, a replica ends
CUT_SHORT = 0  # in place of a status: the replica ended after the answer's head, which HAProxy had already passed on
IMAGE = encode(grey(200, 160), "JPEG")  # small enough for HAProxy's buffer, so that it could send it twice
FREEZE = """
import os, pathlib, signal
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if "-m\\0service" in (process / "cmdline").read_text() and process.name != "1":
        os.kill(int(process.name), signal.SIGSTOP)
"""


class Answer(NamedTuple):
    status: int
    start: float  # seconds, time.monotonic
    end: float


@pytest.fixture(scope="module")
def scaled() -> Iterator[tuple[Compose, int]]:
    port = free_port()
    with running("balancer", REPLICAS=4, SCALE_PORT=port) as compose:
        yield compose, port


def under_load(port: int, prefix: str, disturb: Callable[[], object]) -> dict[str, Answer]:
    """Answers by request id: of clients that send one request after the other before, during and after `disturb`."""
    over, answers = threading.Event(), dict[str, Answer]()

    def send_requests(client_number: int) -> None:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30, trust_env=False) as client:
            for number in itertools.count():
                request_id, start = f"{prefix}-{client_number}-{number}", time.monotonic()
                try:
                    status = client.post("/predict", content=IMAGE, headers={"X-Request-ID": request_id}).status_code
                except httpx.RemoteProtocolError:
                    status = CUT_SHORT
                answers[request_id] = Answer(status, start, time.monotonic())
                if over.is_set():
                    return

    def wait_for_answers() -> None:
        enough = len(answers) + REQUESTS
        while len(answers) < enough and not any(client.done() for client in clients):  # done: it has failed
            time.sleep(0.01)

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(send_requests, number) for number in range(CLIENTS)]
        try:
            wait_for_answers()
            disturb()
            wait_for_answers()
        finally:
            over.set()
        for client in clients:
            client.result()
    return answers


def logged_by(compose: Compose, answers: dict[str, Answer]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {request_id: [] for request_id in answers}
    for container in compose.containers("replica", "--all"):
        for line in log(container, "request"):
            if line["request_id"] in found:
                found[str(line["request_id"])].append(container)
    return found


def test_a_replica_that_is_stopped_under_load_loses_nothing(scaled: tuple[Compose, int]) -> None:
    compose, port = scaled
    stopped = compose.containers("replica")[0]
    answers = under_load(port, "stop", partial(docker, "stop", stopped))
    lost = [request_id for request_id, answer in answers.items() if answer.status != 200]
    [balancer] = compose.containers("balancer")
    assert not lost, [line for line in log(balancer, "balanced") if line["request_id"] in lost]
    logged = logged_by(compose, answers).values()
    assert {len(replicas) for replicas in logged} == {1}
    assert [stopped] in logged


def test_a_killed_replica_loses_at_most_its_own_work_and_no_other_gets_that(scaled: tuple[Compose, int]) -> None:
    compose, port = scaled
    killed, times = compose.containers("replica")[0], list[float]()

    def kill() -> None:
        times.append(time.monotonic())
        docker("exec", killed, "python", "-c", FREEZE)  # so that it surely has requests in work
        time.sleep(0.5)
        docker("kill", "--signal", "KILL", killed)
        times.append(time.monotonic())

    answers = under_load(port, "kill", kill)
    begin, end = times
    logged = logged_by(compose, answers)
    [balancer] = compose.containers("balancer")
    balanced = [(line["request_id"], line["replica"]) for line in log(balancer, "balanced") if line["request_id"] in answers]
    lost = {request_id: answer for request_id, answer in answers.items() if answer.status != 200}
    assert sorted(request_id for request_id, _ in balanced) == sorted(answers)  # each once
    assert lost and {answer.status for answer in lost.values()} <= {502, CUT_SHORT}
    assert all(answer.start < end and answer.end > begin for answer in lost.values())
    assert len({replica for request_id, replica in balanced if request_id in lost}) == 1
    assert all(logged[request_id] in ([], [killed]) for request_id in lost)
    assert all(len(replicas) <= 1 for replicas in logged.values())  # what the killed one had not yet written is in no log
    assert [killed] in logged.values()
    assert any(answer.start > end for answer in answers.values())
