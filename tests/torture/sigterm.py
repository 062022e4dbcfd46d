"""SIGTERM at a random moment under load: no answer that the log reports is lost, and every request in the log is answered."""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from tests.torture.inputs import png
from tests.torture.process import STOP_SECONDS, serving
from tests.torture.wire import NO_ANSWER, connect, post, read

ROUNDS = 50
CLIENTS = 6
DRAIN_SECONDS = 10
EXPECTED = f"nothing accepted is lost; exit by the signal in MEDXFER_DRAIN_SECONDS={DRAIN_SECONDS}"


def run() -> tuple[bool, str]:
    dice = random.Random(1)
    logged: dict[str, int] = {}
    answers: dict[str, int] = {}
    exits: set[int] = set()
    slowest = 0.0
    for number in range(ROUNDS):
        with serving(drain_seconds=DRAIN_SECONDS) as service, ThreadPoolExecutor(CLIENTS) as pool:
            clients = pool.map(partial(post_until_gone, service.port), [f"r{number}-{client}" for client in range(CLIENTS)])
            time.sleep(dice.uniform(0.05, 0.6))
            begin = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            exits.add(service.process.wait(STOP_SECONDS))
            slowest = max(slowest, time.monotonic() - begin)
            for client in clients:
                answers |= client
            logged |= {str(entry["request_id"]): int(entry["status"]) for entry in service.requests()}
    lost = sum(logged[request_id] not in (NO_ANSWER, status) for request_id, status in answers.items() if request_id in logged)
    unanswered = sum(status == NO_ANSWER and request_id in logged for request_id, status in answers.items())
    closing = sum(request_id not in logged for request_id in answers)
    statuses = set(answers.values()) - {NO_ANSWER}
    held = not lost and not unanswered and exits == {-signal.SIGTERM} and slowest <= DRAIN_SECONDS and statuses <= {200, 503}
    return held and len(answers) >= ROUNDS, (
        f"{len(answers) - closing:,} answered ({', '.join(map(str, sorted(statuses)))}), {lost} lost, {unanswered} unanswered, "
        f"{closing} sent into a closing connection; exit {sorted(exits)}, after {slowest:.1f} s at most"
    )


def post_until_gone(port: int, name: str) -> dict[str, int]:
    """Posts images one after another until the service is gone. Returns the status of each complete request, by its id."""
    statuses: dict[str, int] = {}
    try:
        while True:
            with connect(port) as connection:
                closing = False
                while not closing:
                    request_id = f"{name}-{len(statuses)}"
                    connection.sendall(post(png(), f"X-Request-ID: {request_id}"))
                    statuses[request_id] = NO_ANSWER
                    answer = read(connection)
                    statuses[request_id] = answer.status
                    closing = answer.status == NO_ANSWER or answer.headers.get("connection") == "close"
                    assert answer.headers.get("x-request-id", request_id) == request_id, "an answer to another request"
    except OSError:  # refused or reset: the service no longer listens
        return statuses
