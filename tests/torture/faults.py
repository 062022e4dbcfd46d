"""List B: faults around the service, and what it then does. docker/smoke.sh and smoke-long.sh try those of a container."""

import contextlib
import json
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from tests.conftest import encode, grey
from tests.torture import toy
from tests.torture.inputs import JPEG, PNG
from tests.torture.process import STOP_SECONDS, Service, serving
from tests.torture.results import Findings, Outcome, checked
from tests.torture.wire import NO_ANSWER, connect, exchange, post, read

WATCHDOG_SECONDS, EXIT_STUCK = 3, 70
CLIENTS = 200
SIGTERMS, SENDERS, DRAIN_SECONDS = 50, 6, 10

# Python code that runs before the service in its process.
PROGRAM = "import random, signal, sys, time\n{}\nfrom runpy import run_module\nrun_module('service', run_name='__main__')"
BLOCKABLE = PROGRAM.format("signal.signal(signal.SIGHUP, lambda *_: time.sleep(3600))  # in the event loop's thread")
WRONG_CLOCK = PROGRAM.format("right = time.time; time.time = lambda: right() + random.choice((-3600, 0, 3600, 10**8))")


def run() -> Findings:
    stuck = f"exit {EXIT_STUCK} in {WATCHDOG_SECONDS + 4} s, stacks on stderr, not before {WATCHDOG_SECONDS - 1} s"
    drained = f"nothing accepted is lost; exit by the signal in MEDXFER_DRAIN_SECONDS={DRAIN_SECONDS}"
    white, blockable = post(encode(grey(64, 64) | 255)), (sys.executable, "-c", BLOCKABLE)
    clock, quiet = (sys.executable, "-c", WRONG_CLOCK), "{:,} × 200, exit by SIGTERM"
    no_leak = f"{CLIENTS} clients cost no place, descriptor or thread"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        refusals = [checked(name, "exit 3 in 5 s, one line", partial(refuses, model)) for name, model in bad_models(folder)]
        jumps = partial(answers_without_log, 100, command=clock)
        others = (  # B15, slow clients by hundreds, is in `loads`
            (f"B7 SIGTERM under load, {SIGTERMS} times", drained, sigterm_under_load),
            ("B9 SIGSTOP for 5 s, watchdog at 3 s", "the answer after SIGCONT", stopped),
            ("B10 an inference never ends", stuck, partial(ends_as_stuck, white, model=toy.write_folder(folder / "toy"))),
            ("B11 the event loop is blocked", stuck, partial(ends_as_stuck, signal.SIGHUP, command=blockable)),
            ("B16 a reset in the middle of a head", no_leak, partial(leaks_nothing, post(JPEG)[:20])),
            ("B16 a reset in the middle of an upload", no_leak, partial(leaks_nothing, post(JPEG)[:-1])),
            ("B16 a reset in the middle of an inference", no_leak, partial(leaks_nothing, post(JPEG))),
            ("B18 a clock that jumps by hours (time.time)", quiet.format(100), jumps),
            ("B19 nobody reads the log", quiet.format(2_000), partial(answers_without_log, 2_000)),
            ("B19 the log's reader is gone", quiet.format(200), partial(answers_without_log, 200, False)),
            ("requests without the right MEDXFER_TOKEN", "401 five times; with it 200", tokens),
        )
        return refusals + [checked(*other) for other in others]


def bad_models(folder: Path) -> Iterator[tuple[str, Path]]:
    model = toy.write_folder(folder / "model")
    (model / "model.onnx").unlink()
    (model / "model.onnx").mkdir()
    yield "B1 a folder named model.onnx", model
    (folder / "outside").write_bytes(b"\0\0\x7fC")
    for number, location in enumerate(("../outside", "/etc/hostname", "data")):
        model = toy.write_folder(folder / f"model-{number}", toy.model_with_external_data(location))
        (model / "data").symlink_to(folder / "outside")
        yield f"B4 weights in another file: {location}", model
    yield "B5 a model that answers NaN", toy.write_folder(folder / "nan", toy.model(scale=float("nan")))


def refuses(model: Path) -> Outcome:
    begin = time.monotonic()
    with serving(wait=False, model=model) as service:
        code = service.process.wait(STOP_SECONDS)
        seconds = time.monotonic() - begin
        lines = service.log.read_text(errors="replace").splitlines()
    held = code == 3 and seconds < 5 and len(lines) == 1 and lines[0].startswith("medxfer: ")
    return held, f"exit {code} in {seconds:.1f} s: {' / '.join(lines).replace(f'{model.parent}/', '')[:160]}"


def sigterm_under_load() -> Outcome:
    dice, exits, tracebacks, slowest = random.Random(1), set[int](), 0, 0.0
    logged, answers = dict[str, int](), dict[str, int]()
    for number in range(SIGTERMS):
        with serving(drain_seconds=DRAIN_SECONDS) as service, ThreadPoolExecutor(SENDERS) as pool:
            clients = pool.map(partial(post_until_gone, service.port), [f"r{number}-{client}" for client in range(SENDERS)])
            time.sleep(dice.uniform(0.05, 0.6))
            begin = time.monotonic()
            for _ in range(1 + number % 2):  # a second SIGTERM changes nothing
                service.process.send_signal(signal.SIGTERM)
            exits.add(service.process.wait(STOP_SECONDS))
            slowest = max(slowest, time.monotonic() - begin)
            for client in clients:
                answers |= client
            logged |= {str(entry["request_id"]): int(entry["status"]) for entry in service.requests()}
            tracebacks += "Traceback" in service.log.read_text(errors="replace")
    both = [(logged[request_id], status) for request_id, status in answers.items() if request_id in logged]
    lost = sum(status == NO_ANSWER or entry not in (NO_ANSWER, status) for entry, status in both)
    statuses = set(answers.values()) - {NO_ANSWER}
    held = not (lost or tracebacks) and exits == {-signal.SIGTERM} and slowest <= DRAIN_SECONDS
    return held and statuses <= {200, 503} and len(both) >= SIGTERMS, (
        f"{len(both):,} answered ({', '.join(map(str, sorted(statuses)))}), {lost} lost, {len(answers) - len(both)} sent into "
        f"a closing connection; exit {sorted(exits)}, after {slowest:.1f} s at most"
    )


def post_until_gone(port: int, name: str) -> dict[str, int]:
    """Posts images one after another until the service is gone. Returns the status of each complete request, by its id."""
    statuses: dict[str, int] = {}
    with contextlib.suppress(OSError):  # refused or reset: the service no longer listens
        while True:
            with connect(port) as connection:
                is_open = True
                while is_open:
                    request_id = f"{name}-{len(statuses)}"
                    connection.sendall(post(PNG, f"X-Request-ID: {request_id}"))
                    statuses[request_id] = NO_ANSWER
                    answer = read(connection)
                    statuses[request_id] = answer.status
                    is_open = answer.status != NO_ANSWER and answer.headers.get("connection") != "close"
                    assert answer.headers.get("x-request-id", request_id) == request_id, "an answer to another request"
    return statuses


def stopped() -> Outcome:
    with serving(watchdog_seconds=WATCHDOG_SECONDS) as service:
        for server in service.servers():
            server.suspend()
        with connect(service.port, post(JPEG)) as client:
            time.sleep(5)
            for server in service.servers():
                server.resume()
            status = read(client).status
        time.sleep(WATCHDOG_SECONDS)
        healthy = service.is_healthy()
    return status == 200 and healthy, f"answers {status}, healthy {healthy}"


def ends_as_stuck(trigger: bytes | signal.Signals, **how: Any) -> Outcome:  # Any: of several types
    with serving(watchdog_seconds=WATCHDOG_SECONDS, **how) as service:
        assert statuses_of_good_clients(service) == {200}
        begin = time.monotonic()
        client = connect(service.port, trigger if isinstance(trigger, bytes) else b"")
        if isinstance(trigger, signal.Signals):
            service.servers()[0].send_signal(trigger)
        code = exit_code_of_one(service)
        seconds = time.monotonic() - begin
        client.close()
        if service.processes > 1:
            assert statuses_of_good_clients(service) == {200}
        stacks = 'File "' in service.log.read_text()
    held = code == EXIT_STUCK and stacks and WATCHDOG_SECONDS - 1 <= seconds <= WATCHDOG_SECONDS + 4
    return held, f"exit {code} after {seconds:.1f} s, {'with' if stacks else 'without'} stacks"


def exit_code_of_one(service: Service) -> int:
    """Waits for the service to end, or for its supervisor to say that one of several processes did."""
    if service.processes == 1:
        return service.process.wait(STOP_SECONDS)
    end = time.monotonic() + STOP_SECONDS
    while time.monotonic() < end:
        for line in service.log.read_text(errors="replace").splitlines():
            if '"message":"process ended"' in line:
                return int(json.loads(line)["exit_code"])
        time.sleep(0.05)
    raise subprocess.TimeoutExpired("one of the processes", STOP_SECONDS)


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
        more_descriptors, more_threads = service.descriptors() - descriptors, service.threads() - threads
        statuses = statuses_of_good_clients(service)
    held = more_descriptors <= 0 and more_threads <= 2 and statuses == {200}  # threads that decode start when they are needed
    return held, f"{more_descriptors:+} descriptors, {more_threads:+} threads, then answers {sorted(statuses)}"


def statuses_of_good_clients(service: Service, requests: int = 8) -> set[int]:
    return {exchange(service.port, post(JPEG)).status for _ in range(requests)}


def answers_without_log(requests: int, reader_stays: bool = True, **how: Any) -> Outcome:  # Any: of several types
    with serving(stderr=subprocess.PIPE, **how) as service:
        assert service.process.stderr
        if not reader_stays:
            service.process.stderr.close()
        statuses = statuses_of_good_clients(service, requests)
        service.process.terminate()
        code = service.process.wait(STOP_SECONDS)
    return statuses == {200} and code == -signal.SIGTERM, f"{requests:,} × {sorted(statuses)}, exit {code}"


def tokens() -> Outcome:
    offers = ("", "Bearer", "Bearer wrong", "Bearer \xe9", "Basic x:y", "Bearer right-token-of-some-length")
    with serving(token=offers[-1].split()[-1]) as service:
        statuses = [exchange(service.port, post(JPEG, f"Authorization: {offer}")).status for offer in offers]
    return statuses == [401] * 5 + [200], f"{statuses}"
