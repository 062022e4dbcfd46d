"""Replicas behind HAProxy, as compose.yaml starts them: what is lost where one of them ends, and that nothing is sent twice."""

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

CLIENTS, MOST, MORE = 6, 500, 60  # requests: of each client at most; of all, before and after what disturbs them
IMAGE = encode(grey(200, 160), "JPEG")  # small enough to be kept, so that it could be sent twice
FREEZE = """
import os, pathlib, signal
for process in pathlib.Path("/proc").glob("[0-9]*"):
    if "-m\\0service" in (process / "cmdline").read_text() and process.name != "1":
        os.kill(int(process.name), signal.SIGSTOP)
"""


class Answer(NamedTuple):
    request_id: str
    status: int
    start: float  # seconds, time.monotonic
    end: float


@pytest.fixture(scope="module")
def url() -> str:
    return f"http://127.0.0.1:{free_port()}"


@pytest.fixture(scope="module")
def scaled(url: str) -> Iterator[Compose]:
    with running("balancer", REPLICAS=4, SCALE_PORT=url.rpartition(":")[2]) as compose:
        yield compose


def under_load(url: str, prefix: str, disturb: Callable[[], object]) -> list[Answer]:
    """The answers that clients, each asking as soon as it is answered, had before, while and after `disturb` was at work."""
    over = threading.Event()
    answers: list[Answer] = []

    def ask(client_number: int) -> None:
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            for number in range(MOST):
                request_id, start = f"{prefix}-{client_number}-{number}", time.monotonic()
                response = client.post("/predict", content=IMAGE, headers={"X-Request-ID": request_id})
                answers.append(Answer(request_id, response.status_code, start, time.monotonic()))
                if over.is_set():
                    return

    def wait_for_more() -> None:
        enough = len(answers) + MORE
        while len(answers) < enough and not all(client.done() for client in clients):
            time.sleep(0.01)

    with ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(ask, number) for number in range(CLIENTS)]
        wait_for_more()
        disturb()
        wait_for_more()
        over.set()
        for client in clients:
            client.result()
    return answers


def replicas_that_logged(compose: Compose, answers: list[Answer]) -> dict[str, list[str]]:
    """The containers that have a request in their log, by its id."""
    found: dict[str, list[str]] = {answer.request_id: [] for answer in answers}
    for container in compose.containers("replica"):
        for line in log(container, "request"):
            if line["request_id"] in found:
                found[str(line["request_id"])].append(container)
    return found


def balanced(compose: Compose, answers: list[Answer]) -> dict[str, str]:
    """The replica that the balancer gave a request to last, by the request's id, once for each."""
    [balancer] = compose.containers("balancer")
    ids = {answer.request_id for answer in answers}
    lines = [line for line in log(balancer, "balanced") if line["request_id"] in ids]
    assert len(lines) == len(ids)
    return {str(line["request_id"]): str(line["replica"]) for line in lines}


def test_one_of_four_that_is_stopped_under_load_loses_nothing(scaled: Compose, url: str) -> None:
    stopped = scaled.running("replica")[0]
    answers = under_load(url, "stop", partial(docker, "stop", stopped))
    assert {answer.status for answer in answers} == {200}
    logged = replicas_that_logged(scaled, answers)
    assert {len(containers) for containers in logged.values()} == {1}
    assert [stopped] in logged.values()


def test_one_of_three_that_is_killed_under_load_loses_at_most_what_it_had_in_work_and_no_other_gets_that(
    scaled: Compose, url: str
) -> None:
    killed, times = scaled.running("replica")[0], list[float]()

    def kill() -> None:
        times.append(time.monotonic())
        docker("exec", killed, "python", "-c", FREEZE)  # so that some are in work there, without doubt
        time.sleep(0.5)
        docker("kill", "--signal", "KILL", killed)
        times.append(time.monotonic())

    answers = under_load(url, "kill", kill)
    begun, ended = times
    replica, logged = balanced(scaled, answers), replicas_that_logged(scaled, answers)
    lost = [answer for answer in answers if answer.status != 200]
    in_flight = [answer for answer in answers if answer.start < ended and answer.end > begun]
    assert lost
    assert set(lost) <= set(in_flight)
    assert len({replica[answer.request_id] for answer in lost}) == 1
    assert all(answer.status == 502 for answer in lost)
    for answer in answers:  # what the killed one had not yet written is in no log
        assert len(logged[answer.request_id]) <= 1
        if answer in lost:
            assert logged[answer.request_id] in ([], [killed])
    assert [killed] in logged.values()
    assert any(answer.start > ended for answer in answers)
