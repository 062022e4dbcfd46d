"""List B: faults around the service, and what the service then does.

python -m tests.torture --only faults

`make test` tries other faults: damaged model folders (test_artefact.py), settings and ports (test_main.py), stuck and slow
clients (test_connection.py). docker/smoke.sh and docker/smoke-long.sh try those that need a container.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from tests.conftest import DEFAULT_MODEL, encode, free_port, grey
from tests.torture import results, sigterm, toy
from tests.torture.inputs import jpeg
from tests.torture.process import STOP_SECONDS, Service, serving, started
from tests.torture.wire import connect, exchange, get, post, read

Outcome = tuple[bool, str]  # whether the goal was met, and what was found

REFUSES_TO_START = "exit 3 in 5 s, one line"
WATCHDOG_SECONDS = 3
CLIENTS = 200
EXIT_STUCK = 70

# Python code that runs before the service in its process.
PROGRAM = (
    "import random, runpy, signal, sys, time\n{}\nsys.argv = ['service']\nrunpy.run_module('service', run_name='__main__')"
)
BLOCKABLE = PROGRAM.format("signal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))  # in the event loop's thread")
WRONG_CLOCK = PROGRAM.format("right = time.time; time.time = lambda: right() + random.choice((-3600, 0, 3600, 10**8))")


def run() -> results.Section:
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        checks = [
            results.checked(name, expected, try_it)
            for group in (model_folders, processes, clients, surroundings)
            for name, expected, try_it in group(Path(folder))
        ]
    return results.section(time.monotonic() - begin, checks=checks)


def model_folders(folder: Path) -> Iterator[tuple[str, str, Callable[[], Outcome]]]:
    (folder / "file").touch()
    yield "B1 a file in the folder's place", REFUSES_TO_START, partial(refuses, folder / "file")
    model = Path(shutil.copytree(DEFAULT_MODEL, folder / "model"))
    (model / "model.onnx").rename(model / "moved")
    (model / "model.onnx").mkdir()
    yield "B1 a folder named model.onnx", REFUSES_TO_START, partial(refuses, model)
    if os.geteuid() != 0:  # root may read everything
        (model / "model.onnx").rmdir()
        (model / "moved").rename(model / "model.onnx").chmod(0)
        yield "B1 a model without permission to read it", REFUSES_TO_START, partial(refuses, model)
    (folder / "outside").write_bytes(b"\0\0\x7fC")
    for number, location in enumerate(("../outside", "/etc/hostname", "data")):
        model = toy.write_folder(folder / f"model-{number}", toy.model_with_external_data(location))
        (model / "data").symlink_to(folder / "outside")
        yield f"B4 weights in another file: {location}", REFUSES_TO_START, partial(refuses, model)
    model = toy.write_folder(folder / "nan", toy.model(scale=float("nan")))
    yield "B5 a model that answers NaN", REFUSES_TO_START, partial(refuses, model)


def refuses(model: Path) -> Outcome:
    begin = time.monotonic()
    with tempfile.TemporaryFile() as log, started(free_port(), log, wait=False, model=model) as service:
        code = service.process.wait(STOP_SECONDS)
        seconds = time.monotonic() - begin
        log.seek(0)
        lines = log.read().decode(errors="replace").splitlines()
    text = re.sub(rf"{model.parent}/", "", " / ".join(lines))
    held = code == 3 and seconds < 5 and len(lines) == 1 and lines[0].startswith("medxfer: ")
    return held, f"exit {code} in {seconds:.1f} s: {text[:160]}"


def processes(folder: Path) -> Iterator[tuple[str, str, Callable[[], Outcome]]]:
    stuck = f"exit {EXIT_STUCK} in {WATCHDOG_SECONDS + 4} s, stacks on stderr, not before {WATCHDOG_SECONDS - 1} s"
    yield "B6 the model folder is replaced while serving", "the same answers", lambda: model_is_replaced(folder / "replaced")
    yield "B7 SIGTERM twice", "exit by the signal", sigterm_twice
    yield f"B7 SIGTERM under load, {sigterm.ROUNDS} times", sigterm.EXPECTED, sigterm.run
    yield "B9 SIGSTOP for 5 s, watchdog at 3 s", "the answer after SIGCONT", stopped
    yield "B10 an inference never ends", stuck, lambda: inference_hangs(toy.write_folder(folder / "toy"))
    yield "B11 the event loop is blocked", stuck, loop_hangs


def model_is_replaced(model: Path) -> Outcome:
    def probabilities(service: Service) -> object:
        return json.loads(exchange(service.port, post(jpeg())).body)["probabilities"]

    shutil.copytree(DEFAULT_MODEL, model)
    with serving(model=model) as service:
        before = probabilities(service)
        shutil.rmtree(model)
        toy.write_folder(model)
        same = sum(probabilities(service) == before for _ in range(50))
    return same == 50, f"{same} of 50 the same"


def sigterm_twice() -> Outcome:
    with serving(deadline_ms=600_000) as service, connect(service.port, post(jpeg())[:-1]):
        assert service.is_healthy()  # it has read what came before
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        service.process.send_signal(signal.SIGTERM)
        code = service.process.wait(STOP_SECONDS)
        clean = "Traceback" not in service.log.read_text()
    return code == -signal.SIGTERM and clean, f"exit {code}"


def stopped() -> Outcome:
    with serving(watchdog_seconds=WATCHDOG_SECONDS) as service:
        service.process.send_signal(signal.SIGSTOP)
        with connect(service.port, post(jpeg())) as client:
            time.sleep(5)
            service.process.send_signal(signal.SIGCONT)
            status = read(client).status
        time.sleep(WATCHDOG_SECONDS)
        return status == 200 and service.is_healthy(), f"answers {status}, healthy {service.is_healthy()}"


def inference_hangs(model: Path) -> Outcome:
    with serving(model=model, variant="fp32", watchdog_seconds=WATCHDOG_SECONDS) as service:
        assert exchange(service.port, post(encode(grey(64, 64)))).status == 200
        with connect(service.port, post(encode(grey(64, 64) | 255))):
            return ends_as_stuck(service)


def loop_hangs() -> Outcome:
    with serving(command=(sys.executable, "-c", BLOCKABLE), watchdog_seconds=WATCHDOG_SECONDS) as service:
        service.process.send_signal(signal.SIGUSR1)
        return ends_as_stuck(service)


def ends_as_stuck(service: Service) -> Outcome:
    begin = time.monotonic()
    code = service.process.wait(STOP_SECONDS)
    seconds = time.monotonic() - begin
    stacks = 'File "' in service.log.read_text()
    held = code == EXIT_STUCK and stacks and WATCHDOG_SECONDS - 1 <= seconds <= WATCHDOG_SECONDS + 4
    return held, f"exit {code} after {seconds:.1f} s, {'with' if stacks else 'without'} stacks"


def clients(_: Path) -> Iterator[tuple[str, str, Callable[[], Outcome]]]:
    """B15, slow clients by hundreds, is in `loads`."""
    expected = f"{CLIENTS} clients cost no place, descriptor or thread"
    yield "B16 a reset in the middle of a head", expected, lambda: leaks_nothing(post(jpeg())[:20])
    yield "B16 a reset in the middle of an upload", expected, lambda: leaks_nothing(post(jpeg())[:-1])
    yield "B16 a reset in the middle of an inference", expected, lambda: leaks_nothing(post(jpeg()))


def leaks_nothing(content: bytes) -> Outcome:
    with serving(queue_limit=4) as service:
        statuses_of_good_clients(service)
        descriptors, threads = service.descriptors(), service.threads()
        for number in range(CLIENTS):
            client = connect(service.port, content)
            time.sleep(number % 6 / 1000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close() resets the connection
            client.close()
        time.sleep(1)
        found = f"descriptors {descriptors} → {service.descriptors()}, threads {threads} → {service.threads()}"
        # Threads that decode start when they are needed.
        same = service.descriptors() <= descriptors and service.threads() <= threads + 2
        statuses = statuses_of_good_clients(service)
    return same and statuses == {200}, f"{found}, then answers {sorted(statuses)}"


def statuses_of_good_clients(service: Service, requests: int = 8) -> set[int]:
    return {exchange(service.port, post(jpeg())).status for _ in range(requests)}


def surroundings(_: Path) -> Iterator[tuple[str, str, Callable[[], Outcome]]]:
    yield "B18 a clock that jumps by hours (time.time)", "100 × 200", wrong_clock
    yield "B19 nobody reads the log", "2,000 × 200, exit by SIGTERM", lambda: answers_without_log(2_000, reader_stays=True)
    yield "B19 the log's reader is gone", "200 × 200, exit by SIGTERM", lambda: answers_without_log(200, reader_stays=False)
    yield "requests without the right MEDXFER_TOKEN", "401; with it 200", tokens


def wrong_clock() -> Outcome:
    with serving(command=(sys.executable, "-c", WRONG_CLOCK)) as service:
        statuses, healthy = statuses_of_good_clients(service, 100), service.is_healthy()
    return statuses == {200} and healthy, f"100 × {sorted(statuses)}, healthy {healthy}"


def answers_without_log(requests: int, *, reader_stays: bool) -> Outcome:
    """The reader either hangs, so that the pipe takes 64 KB and no more, or has closed the pipe."""
    with started(free_port(), subprocess.PIPE) as service:
        assert service.process.stderr
        if not reader_stays:
            service.process.stderr.close()
        statuses = statuses_of_good_clients(service, requests)
        service.process.terminate()
        code = service.process.wait(STOP_SECONDS)
    return statuses == {200} and code == -signal.SIGTERM, f"{requests:,} × {sorted(statuses)}, exit {code}"


def tokens() -> Outcome:
    wrong = ((), *((f"Authorization: {value}",) for value in ("Bearer", "Bearer wrong", "Bearer \xe9", "Basic x:y")))
    right = "Authorization: Bearer right-token-of-some-length"
    with serving(token=right.split()[-1]) as service:
        refused = {exchange(service.port, post(jpeg(), *headers)).status for headers in wrong}
        accepted = {exchange(service.port, content).status for content in (post(jpeg(), right), get("/health/live"))}
    return refused == {401} and accepted == {200}, f"{sorted(refused)}, with it {sorted(accepted)}"
