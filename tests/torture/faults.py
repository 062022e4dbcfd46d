"""List B: what can go wrong around the service, and what it then does.

python -m tests.torture --only faults
"""

import contextlib
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
from tests.torture.inputs import jpeg, png
from tests.torture.process import STOP_SECONDS, Service, serving, start, status_of
from tests.torture.wire import NO_ANSWER, Answer, connect, exchange, post, read

REFUSES_TO_START = "exit 3 in 5 s, one line"
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a2146\nsize 9297754\n"
WATCHDOG_SECONDS = 3
LEAVERS = 200
VERDICTS = {True: "held", False: "FAILED", None: "not tried"}
READY_SECONDS = 3.0
EXIT_STUCK = 70
RUNS = "medxfer_inference_seconds_count"

# The service in an environment that has gone wrong: Python code that runs before it in its process.
ENVIRONMENT = (
    "import runpy, signal, sys, time, random\n{}\nsys.argv = ['service']\nrunpy.run_module('service', run_name='__main__')"
)
BLOCKABLE = ENVIRONMENT.format("signal.signal(signal.SIGUSR1, lambda *_: time.sleep(3600))  # in the event loop's thread")
WRONG_CLOCK = ENVIRONMENT.format("right = time.time; time.time = lambda: right() + random.choice((-3600, 0, 3600, 10**8))")


def run() -> results.Section:
    begin = time.monotonic()
    checks = []
    with tempfile.TemporaryDirectory() as name:
        for fault in (models_that_are_refused, processes, watchdogs, clients, surroundings):
            for check in fault(Path(name)):
                print(f"  {VERDICTS[check.held]}: {check.name}: {check.found}", flush=True)
                checks.append(check)
    checks += NOT_HERE
    return results.section(time.monotonic() - begin, checks=checks)


NOT_HERE = [
    results.Check(name=name, expected=expected, found="needs a container: docker/smoke.sh, docker/smoke-long.sh", held=None)
    for name, expected in (
        ("B12 256 MB of memory, and an image that takes more", "restart, the same answers"),
        ("B13 nothing can be written, /tmp neither", "answers all the same"),
        ("B14 read-only root, uid 10001, no capabilities", "starts and answers"),
    )
]


def checked(name: str, expected: str, try_it: Callable[[], tuple[bool, str]]) -> results.Check:
    """`try_it`: whether it held, and what was found. Its own failure is a finding too."""
    begin = time.monotonic()
    try:
        held, found = try_it()
    except (OSError, RuntimeError, LookupError, AssertionError, subprocess.TimeoutExpired) as error:
        held, found = False, f"{type(error).__name__}: {error}"
    return results.Check(name=name, expected=expected, found=found, held=held, seconds=round(time.monotonic() - begin, 1))


# B1 to B5: model folders


def models_that_are_refused(folder: Path) -> Iterator[results.Check]:
    for number, (name, spoil) in enumerate(SPOILT.items()):
        model = folder / f"model-{number}"
        spoil(model)
        yield checked(name, REFUSES_TO_START, partial(refuses, model=model))
    if os.geteuid() == 0:
        found = "root reads everything"
        yield results.Check(name="B1 a model that may not be read", expected=REFUSES_TO_START, found=found, held=None)
    else:
        model = copied(folder / "unreadable")
        (model / "model.onnx").chmod(0)
        yield checked("B1 a model that may not be read", REFUSES_TO_START, lambda: refuses(model=model))


def refuses(**settings: object) -> tuple[bool, str]:
    begin = time.monotonic()
    with tempfile.TemporaryFile() as log, start(free_port(), log, settings=settings) as process:
        try:
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
        seconds = time.monotonic() - begin
        log.seek(0)
        lines = log.read().decode(errors="replace").splitlines()
    shown = re.sub(r"/\S+/(model-\d+)", r"\1", " / ".join(lines))
    held = process.returncode == 3 and seconds < 5 and len(lines) == 1 and lines[0].startswith("medxfer: ")
    return held, f"exit {process.returncode} in {seconds:.1f} s: {shown[:160]}"


def copied(model: Path) -> Path:
    return Path(shutil.copytree(DEFAULT_MODEL, model, ignore=shutil.ignore_patterns("report")))


def with_file(file: str, change: Callable[[bytes], bytes | None]) -> Callable[[Path], object]:
    """A copy of the default model in which the file is changed, or removed by None."""

    def spoil(model: Path) -> None:
        path = copied(model) / file
        content = change(path.read_bytes())
        path.unlink()
        if content is not None:
            path.write_bytes(content)

    return spoil


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def with_folder_for_a_file(model: Path) -> None:
    (copied(model) / "model.onnx").unlink()
    (model / "model.onnx").mkdir()


def with_data_in(location: str) -> Callable[[Path], object]:
    """Written where it says, so that it could be read."""

    def spoil(model: Path) -> None:
        toy.write_folder(model, toy.with_data_at(location))
        (model / "data").symlink_to(model.parent / "outside")
        (model.parent / "outside").write_bytes(b"\0\0\x7fC")

    return spoil


SPOILT: dict[str, Callable[[Path], object]] = {
    "B1 no model folder": lambda model: None,
    "B1 a file in the folder's place": lambda model: model.write_bytes(b""),
    "B1 no model.onnx": with_file("model.onnx", lambda _: None),
    "B1 an empty model.onnx": with_file("model.onnx", lambda _: b""),
    "B1 half a model.onnx": with_file("model.onnx", lambda content: content[: len(content) // 2]),
    "B1 a Git LFS pointer": with_file("model.onnx", lambda _: LFS_POINTER),
    "B1 a folder named model.onnx": with_folder_for_a_file,
    "B2 one bit of a weight": with_file("model.onnx", flipped),
    "B2 one bit of the variant that does not run": with_file("model.int8.onnx", flipped),
    "B3 no model.json": with_file("model.json", lambda _: None),
    "B3 a changed model.json": with_file("model.json", lambda content: content.replace(b"PNEUMONIA", b"PNEUMONIC")),
    "B3 no SHA256SUMS": with_file("SHA256SUMS", lambda _: None),
    "B3 a SHA256SUMS of something else": with_file("SHA256SUMS", lambda _: b"hello\n"),
    "B3 a model.json of another version": lambda model: toy.write_folder(model, schema_version=99),
    "B3 a model.json for outputs of another shape": lambda model: toy.write_folder(
        model, heatmap={"grid": [7, 7], "scale": 1.0}
    ),
    "B4 weights at ../outside": with_data_in("../outside"),
    "B4 weights at an absolute path": with_data_in("/etc/hostname"),
    "B4 weights behind a symbolic link": with_data_in("data"),
    "B5 a model that answers NaN": lambda model: toy.write_folder(model, toy.model(scale=float("nan"))),
}


# B6 to B9: the process


def processes(folder: Path) -> Iterator[results.Check]:
    yield checked("B6 the model folder is replaced while serving", "the same answers", lambda: replaced(folder / "replaced"))
    yield checked("B7 SIGTERM, idle", "exit by the signal in 2 s", terminated_idle)
    yield checked("B7 SIGTERM, 8 in flight", "8 × 200", terminated_in_flight)
    yield checked("B7 SIGTERM, an upload that is stuck", "exit in MEDXFER_DRAIN_SECONDS=3 and 1 s", terminated_while_stuck)
    yield checked("B7 SIGTERM twice", "exit by the signal", terminated_twice)
    yield checked(f"B7 SIGTERM under load, {sigterm.ROUNDS} times", sigterm.EXPECTED, sigterm.try_it)
    yield checked("B8 SIGKILL and start again", f"ready in {READY_SECONDS:.0f} s", killed)
    yield checked("B9 SIGSTOP for 5 s, watchdog at 3 s", "the answer after SIGCONT", stopped)


def replaced(model: Path) -> tuple[bool, str]:
    copied(model)
    with serving(model=model) as service:
        before = probabilities(exchange(service.port, post(jpeg())))
        shutil.rmtree(model)
        toy.write_folder(model)
        found = [probabilities(exchange(service.port, post(jpeg()))) for _ in range(50)]
    return found == [before] * 50, f"{found.count(before)} of 50 the same"


def probabilities(answer: Answer) -> object:
    assert answer.status == 200, answer
    return json.loads(answer.body)["probabilities"]


def terminated_idle() -> tuple[bool, str]:
    with serving() as service:
        return ends_by_sigterm(service, seconds=2)


def ends_by_sigterm(service: Service, seconds: float) -> tuple[bool, str]:
    begin = time.monotonic()
    service.process.send_signal(signal.SIGTERM)
    service.process.wait(STOP_SECONDS)
    took = time.monotonic() - begin
    clean = "Traceback" not in service.log.read_text()
    found = f"exit {service.process.returncode} in {took:.1f} s" + ("" if clean else ", with a traceback")
    return service.process.returncode == -signal.SIGTERM and took <= seconds and clean, found


def terminated_in_flight() -> tuple[bool, str]:
    """All but their last byte has come when the signal comes; then the rest."""
    content = post(jpeg())
    with serving() as service, contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connect(service.port)) for _ in range(8)]
        for client in clients:
            client.sendall(content[:-1])
        assert status_of(service.port, "/health/live") == 200  # what came before it has been read
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        for client in clients:
            client.sendall(content[-1:])
        statuses = [read(client).status for client in clients]
        service.process.wait(STOP_SECONDS)
    return statuses == [
        200
    ] * 8 and service.process.returncode == -signal.SIGTERM, f"{statuses}, exit {service.process.returncode}"


def terminated_while_stuck() -> tuple[bool, str]:
    with serving(drain_seconds=3, deadline_ms=600_000) as service, connect(service.port) as client:
        client.sendall(post(jpeg())[:-1])
        assert status_of(service.port, "/health/live") == 200
        return ends_by_sigterm(service, seconds=4)


def terminated_twice() -> tuple[bool, str]:
    with serving(deadline_ms=600_000) as service, connect(service.port) as client:
        client.sendall(post(jpeg())[:-1])
        assert status_of(service.port, "/health/live") == 200
        service.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        return ends_by_sigterm(service, seconds=25)


def killed() -> tuple[bool, str]:
    with serving() as service:
        service.process.kill()
        service.process.wait()
        begin = time.monotonic()
        with (service.log.parent / "again").open("wb") as log, start(service.port, log) as process:
            try:
                again = Service(service.port, process, service.log.parent / "again")
                again.wait_until_ready()
                seconds = time.monotonic() - begin
                status = exchange(service.port, post(jpeg())).status
            finally:
                process.kill()
    return seconds <= READY_SECONDS and status == 200, f"ready after {seconds:.1f} s, answers {status}"


def stopped() -> tuple[bool, str]:
    with serving(watchdog_seconds=WATCHDOG_SECONDS) as service, connect(service.port) as client:
        service.process.send_signal(signal.SIGSTOP)
        client.sendall(post(jpeg()))
        time.sleep(5)
        service.process.send_signal(signal.SIGCONT)
        status = read(client).status
        time.sleep(WATCHDOG_SECONDS)
        return status == 200 and service.is_healthy(), f"answers {status}, healthy {service.is_healthy()}"


# B10 and B11: what is stuck


def watchdogs(folder: Path) -> Iterator[results.Check]:
    expected = f"exit 70 in {WATCHDOG_SECONDS + 4} s, stacks on stderr, not before {WATCHDOG_SECONDS - 1} s"
    yield checked("B10 an inference never ends", expected, lambda: inference_hangs(toy.write_folder(folder / "toy")))
    yield checked("B11 the event loop is blocked", expected, loop_hangs)


def inference_hangs(model: Path) -> tuple[bool, str]:
    with serving(model=model, variant="fp32", watchdog_seconds=WATCHDOG_SECONDS) as service:
        assert exchange(service.port, post(encode(grey(64, 64)))).status == 200
        white = encode(grey(64, 64) | 255)
        with connect(service.port) as client:
            client.sendall(post(white))
            return ends_as_stuck(service)


def loop_hangs() -> tuple[bool, str]:
    with serving(command=(sys.executable, "-c", BLOCKABLE), watchdog_seconds=WATCHDOG_SECONDS) as service:
        service.process.send_signal(signal.SIGUSR1)
        return ends_as_stuck(service)


def ends_as_stuck(service: Service) -> tuple[bool, str]:
    begin = time.monotonic()
    service.process.wait(STOP_SECONDS)
    seconds = time.monotonic() - begin
    stacks = 'File "' in service.log.read_text()
    held = service.process.returncode == EXIT_STUCK and stacks and WATCHDOG_SECONDS - 1 <= seconds <= WATCHDOG_SECONDS + 4
    return held, f"exit {service.process.returncode} after {seconds:.1f} s, {'with' if stacks else 'without'} stacks"


# B16 and B17: clients (B15, slow ones by hundreds, is in loads)


def clients(_: Path) -> Iterator[results.Check]:
    same = f"no place, descriptor or thread is lost by {LEAVERS}"
    with serving(queue_limit=4) as service:
        yield checked("B16 a reset in the middle of an upload", same, lambda: leaves_nothing(service, post(jpeg())[:-1]))
        yield checked("B16 a reset in the middle of an inference", same, lambda: leaves_nothing(service, post(jpeg())))
        yield checked("B16 a reset in the middle of a head", same, lambda: leaves_nothing(service, post(jpeg())[:20]))
        yield checked("B17 an upload in slices of 1 byte", "200", lambda: uploads(service, slice_bytes=1, pause_ms=0))
        yield checked("B17 an upload of 2 KB/s for 3 s", "200", lambda: uploads(service, slice_bytes=200, pause_ms=100))
        yield checked("B17 500 ms before every part", "200", lambda: uploads(service, slice_bytes=2_000, pause_ms=500))
        yield checked("B17 an upload slower than the deadline", "408", too_slow)
        yield checked("B17 a client that ends its sending early", "closed; healthy", lambda: half_closed(service))
    yield checked("B16 clients that leave while they wait", "their images are not run", leaves_no_work)


def reset(client: socket.socket) -> None:
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()


def leaves_nothing(service: Service, content: bytes) -> tuple[bool, str]:
    before = (service.descriptors(), service.threads())
    for number in range(LEAVERS):
        client = connect(service.port)
        client.sendall(content)
        time.sleep(number % 6 / 1000)
        reset(client)
    time.sleep(1)
    after = (service.descriptors(), service.threads())
    statuses = {exchange(service.port, post(jpeg())).status for _ in range(8)}
    held = after[0] <= before[0] and after[1] <= before[1] + 2 and statuses == {200}  # decoders start when they are needed
    return held, f"descriptors {before[0]} → {after[0]}, threads {before[1]} → {after[1]}, then answers {sorted(statuses)}"


def leaves_no_work() -> tuple[bool, str]:
    """One lane that is slow, and clients who all leave when it has begun: few have been answered, most wait."""
    ids = [f"leaver-{number}" for number in range(LEAVERS // 5)]
    with serving(lanes=1, variant="fp32", max_batch_size=1) as service:
        before = service.metric(RUNS)
        waiting = [connect(service.port) for _ in ids]
        for client, request_id in zip(waiting, ids, strict=True):
            client.sendall(post(jpeg(), f"X-Request-ID: {request_id}"))
        time.sleep(0.05)
        for client in waiting:
            reset(client)
        time.sleep(1)
        runs = int(service.metric(RUNS) - before)
        healthy = exchange(service.port, post(jpeg())).status == 200
        statuses = [record["status"] for record in service.requests() if record["request_id"] in ids]
    left, answered = statuses.count(NO_ANSWER), statuses.count(200)
    held = left >= 10 and left + answered == len(statuses) and runs <= answered + 5 and healthy
    return held, f"{runs} runs for {answered} who were answered and {left} who left; healthy {healthy}"


def uploads(service: Service, slice_bytes: int, pause_ms: int) -> tuple[bool, str]:
    content = post(png())
    begin = time.monotonic()
    with connect(service.port) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for place in range(0, len(content), slice_bytes):
            client.sendall(content[place : place + slice_bytes])
            time.sleep(pause_ms / 1000)
        status = read(client).status
    return status == 200, f"{status} after {time.monotonic() - begin:.1f} s for {len(content):,} bytes"


def too_slow() -> tuple[bool, str]:
    with serving(deadline_ms=1_000) as service, connect(service.port) as client:
        begin = time.monotonic()
        client.sendall(post(jpeg())[:-1])
        status = read(client).status
        seconds = time.monotonic() - begin
    return status == 408 and 0.9 <= seconds <= 3, f"{status} after {seconds:.1f} s (MEDXFER_DEADLINE_MS=1000)"


def half_closed(service: Service) -> tuple[bool, str]:
    with connect(service.port) as client:
        client.sendall(post(jpeg())[:-1])
        client.shutdown(socket.SHUT_WR)
        status = read(client).status
    return status in (NO_ANSWER, 400) and service.is_healthy(), f"{'closed' if status == NO_ANSWER else status}"


# B18 to B20, and the token: what is around it


def surroundings(_: Path) -> Iterator[results.Check]:
    yield checked("B18 a clock that jumps by hours (time.time)", "100 × 200", wrong_clock)
    yield checked("B19 nobody reads the log", "2,000 × 200, exit by SIGTERM", unread_log)
    yield checked("B19 the log's reader is gone", "200 × 200, exit by SIGTERM", broken_log)
    yield checked("B20 the port is in use", "exit ≠ 0, and says so", port_in_use)
    yield checked("requests without the right MEDXFER_TOKEN", "401; with it 200", tokens)
    yield checked("a setting that does not exist", REFUSES_TO_START, lambda: refuses(prot=8001))


def wrong_clock() -> tuple[bool, str]:
    with serving(command=(sys.executable, "-c", WRONG_CLOCK)) as service:
        statuses = [exchange(service.port, post(jpeg())).status for _ in range(100)]
        healthy = service.is_healthy()
    return statuses == [200] * 100 and healthy, f"{statuses.count(200)} × 200, healthy {healthy}"


def unread_log() -> tuple[bool, str]:
    """As a supervisor that hangs: the pipe takes 64 KB, then no more."""
    return answers_without_its_log(2_000, reader_stays=True)


def broken_log() -> tuple[bool, str]:
    return answers_without_its_log(200, reader_stays=False)


def answers_without_its_log(times: int, *, reader_stays: bool) -> tuple[bool, str]:
    port = free_port()
    with start(port, subprocess.PIPE) as process:
        try:
            assert process.stderr
            Service(port, process, Path(os.devnull)).wait_until_ready()
            if not reader_stays:
                process.stderr.close()
            statuses = [exchange(port, post(jpeg())).status for _ in range(times)]
            process.terminate()
            process.wait(STOP_SECONDS)
        finally:
            process.kill()
    held = statuses == [200] * times and process.returncode == -signal.SIGTERM
    return held, f"{statuses.count(200):,} × 200, exit {process.returncode}"


def port_in_use() -> tuple[bool, str]:
    with serving() as first, tempfile.TemporaryFile() as log, start(first.port, log) as second:
        try:
            second.wait(STOP_SECONDS)
        finally:
            second.kill()
        log.seek(0)
        last = log.read().decode().splitlines()[-1]
    return second.returncode == 3 and last.startswith("medxfer: "), f"exit {second.returncode}: {last[:100]}"


def tokens() -> tuple[bool, str]:
    wrong = (
        "",
        "Authorization: Bearer",
        "Authorization: Bearer wrong",
        "Authorization: Bearer \xe9",
        "Authorization: Basic x:y",
    )
    with serving(token="right-token-of-some-length") as service:
        refused = {exchange(service.port, post(jpeg(), *filter(None, (header,)))).status for header in wrong}
        right = exchange(service.port, post(jpeg(), "Authorization: Bearer right-token-of-some-length")).status
        live = status_of(service.port, "/health/live")
    return refused == {401} and right == 200 and live == 200, f"{sorted(refused)}, with it {right}, /health/live {live}"
