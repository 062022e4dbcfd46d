"""The load test: against the real service, and against servers that misbehave."""

import http.server
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.bench import Tally, report
from tests.conftest import ROOT, encode, free_port, grey, running_service

COMMAND = [sys.executable, "-W", "error", "-m", "service", "bench"]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "x.png").write_bytes(encode(grey(224, 224)))
    return tmp_path / "x.png"


def bench(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def begun(url: object, image: Path) -> "subprocess.Popen[str]":
    """A long load test that has warmed up."""
    command = [*COMMAND, str(url), str(image), "--seconds", "60"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout
    assert "8 connections" in process.stdout.readline()
    return process


def test_it_says_what_it_asked_and_how_that_went(client: httpx.Client, image: Path) -> None:
    done = bench(client.base_url, image, "--connections", 2, "--requests", 20)
    assert (done.returncode, done.stderr) == (0, "")
    asked, requests, throughput, latency, cost = done.stdout.splitlines()
    model = client.get("/model-info").json()
    assert f"2 connections, model {model['name']}, variant {model['running']['variant']}" in asked
    assert "20 answered, 0 failed, 0 told to come later" in requests
    assert "requests/s" in throughput
    assert re.findall("[a-z]+[0-9]*", latency) == ["latency", "mean", "p50", "p90", "p95", "p99", "max", "ms"]
    assert "beside the service" in cost


def test_it_ends_after_the_time_it_was_given(client: httpx.Client, image: Path) -> None:
    done = bench(client.base_url, image, "--seconds", 0.2)
    assert done.returncode == 0
    assert "0 failed" in done.stdout


def test_another_path_is_taken_as_it_is(client: httpx.Client, image: Path) -> None:
    assert bench(f"{client.base_url}/predict?heatmap=true", image, "--requests", 1).returncode == 0
    assert "status 400: " in bench(f"{client.base_url}/predict?heatmap=perhaps", image).stderr


def test_a_terminal_sees_it_proceed(client: httpx.Client, image: Path) -> None:
    terminal, end = os.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as seen:
        subprocess.run([*COMMAND, str(client.base_url), str(image), "--requests", "4"], cwd=ROOT, stderr=end, check=True)
        os.close(end)
        assert b"4 answered\x1b[K\r\x1b[K" in seen.read(4096)


def test_an_image_that_is_refused_is_not_measured(client: httpx.Client) -> None:
    done = bench(client.base_url, Path(__file__))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == f"medxfer: {client.base_url}: status 415: the content is neither JPEG nor PNG nor DICOM\n"


def test_ctrl_c_prints_what_was_measured(client: httpx.Client, image: Path) -> None:
    with begun(client.base_url, image) as process:
        time.sleep(0.5)  # some answers
        process.send_signal(signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")
    assert "answered, 0 failed" in output


def test_being_told_to_come_later_is_obeyed_and_no_failure(image: Path) -> None:
    with running_service(queue_limit=1) as client:
        done = bench(client.base_url, image, "--connections", 4, "--requests", 400)
    assert done.returncode == 0, done.stderr
    assert ", 0 failed, 0 told" not in done.stdout
    assert "status 429: images in work: 1" in done.stdout


def test_a_service_that_leaves_is_a_failure(image: Path) -> None:
    with running_service() as client:
        process = begun(client.base_url, image)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (1, "")
    assert "8 failed" in output
    assert "8 × connection lost: [Errno" in output


class Closing(http.server.BaseHTTPRequestHandler):
    """HTTP/1.0: a connection for each answer, and no length."""

    answer = b'{"model": {"name": "toy", "variant": "fp32"}}'

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.answer)

    def log_message(self, *_: object) -> None:
        pass


class Stranger(Closing):
    answer = b"<html>\x1b[31mWelcome"


def serving(handler: type[Closing]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def closing() -> Iterator[str]:
    yield from serving(Closing)


@pytest.fixture
def stranger() -> Iterator[str]:
    yield from serving(Stranger)


def test_connections_are_opened_again_where_the_server_closes_each(closing: str, image: Path) -> None:
    done = bench(closing, image, "--requests", 50)
    assert done.returncode == 0, done.stderr
    assert "50 answered, 0 failed" in done.stdout


def test_another_server_is_not_measured_and_cannot_write_to_the_terminal(stranger: str, image: Path) -> None:
    done = bench(stranger, image)
    assert done.returncode == 1
    assert done.stderr == "medxfer: what answers is not this service: <html>[31mWelcome\n"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost:8000", "is no URL like http://localhost:8000"),
        ("http://", "is no URL"),
        ("http://localhost:http", "is no URL"),
        ("http://[", "is no URL"),
        ("http://localhost:0", "is no URL"),
        ("http://localhost/a b", "is no URL"),
        ("http://a..b", "cannot connect: "),
        pytest.param(f"http://127.0.0.1:{free_port()}", "cannot connect: Connection refused", id="nobody listens"),
    ],
)
def test_an_address_where_nothing_is_is_named_in_one_line(url: str, words: str, image: Path) -> None:
    done = bench(url, image)
    assert (done.returncode, done.stdout) == (1, "")
    assert url in done.stderr
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(("name", "words"), [("nowhere.png", "No such file"), ("..", "Is a directory")])
def test_an_image_that_cannot_be_read_is_named_in_one_line(name: str, words: str, tmp_path: Path) -> None:
    done = bench("http://localhost:8000", tmp_path / name)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"medxfer: {tmp_path / name}: {words}")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("option", "value"),
    [("--connections", "0"), ("--connections", "many"), ("--seconds", "nan"), ("--seconds", "0"), ("--requests", "1.5")],
)
def test_a_wrong_number_is_refused_with_what_is_allowed(option: str, value: str, image: Path) -> None:
    done = bench("http://localhost:8000", image, option, value)
    assert done.returncode == 2
    assert f"{option}: '{value}': must be a " in done.stderr


def test_percentiles_are_those_of_numpys_default() -> None:
    tally = Tally()
    for milliseconds in range(1, 101):
        tally.add(200, b"", milliseconds / 1000)
    assert "mean 50.5   p50 50.5   p90 90.1   p95 95.0   p99 99.0   max 100.0 ms" in report(tally, beside_the_service=False)[2]


def test_failures_are_told_apart_by_status_with_the_first_detail_and_do_not_enter_the_times() -> None:
    tally = Tally()
    tally.add(200, b"", 0.001)
    tally.add(504, b'{"detail": "no answer after 5000 ms"}', 5)
    tally.add(504, b'{"detail": "the second"}', 5)
    tally.add(502, b"Bad gateway", 5)
    tally.add(0, b"timed out", 60)
    requests, lost, gateway, late, _, latency, _ = report(tally, beside_the_service=False)
    assert "1 answered, 4 failed, 0 told" in requests
    assert lost == "  1 × connection lost: timed out"
    assert gateway == "  1 × status 502: Bad gateway"
    assert late == "  2 × status 504: no answer after 5000 ms"
    assert latency.endswith("max 1.0 ms")


def test_the_client_needs_the_standard_library_alone() -> None:
    subprocess.run([sys.executable, "-S", "-c", "import service.bench"], cwd=ROOT, check=True)


def test_neither_serving_nor_measuring_loads_what_only_the_other_needs() -> None:
    for room, others in (("serve", {"service.bench"}), ("bench", {"service.serve", "uvicorn", "onnxruntime"})):
        check = f"import sys, service.__main__, service.{room}; sys.exit(bool(set(sys.modules) & {others}))"
        subprocess.run([sys.executable, "-c", check], cwd=ROOT, check=True)
