"""SIGTERM at a random moment under load: what the service says it answered has arrived, and what was sent was answered."""

import itertools
import random
import signal
import threading
import time
from typing import NamedTuple

from tests.torture.inputs import png
from tests.torture.process import STOP_SECONDS, Service, serving
from tests.torture.wire import NO_ANSWER, connect, post, read

ROUNDS = 50
CLIENTS = 6
DRAIN_SECONDS = 10
EXPECTED = f"nothing accepted is lost; exit by the signal in MEDXFER_DRAIN_SECONDS={DRAIN_SECONDS}"


class Client(threading.Thread):
    """Posts one image after another on one connection, each with an id of its own, until the service is gone. `sent`: ids of
    requests that were sent whole; `received`: statuses of whole answers, by id."""

    def __init__(self, port: int, name: str) -> None:
        super().__init__()
        self._port, self._name = port, name
        self.sent: list[str] = []
        self.received: dict[str, int] = {}

    def run(self) -> None:
        try:
            while self._converse():
                pass
        except OSError:
            return  # refused or reset: the service no longer listens

    def _converse(self) -> bool:
        """One connection, until the service closes it. Whether another may be tried."""
        with connect(self._port) as connection:
            for _ in itertools.count():
                request_id = f"{self._name}-{len(self.sent)}"
                connection.sendall(post(png(), f"X-Request-ID: {request_id}"))
                self.sent.append(request_id)
                answer = read(connection)
                if answer.status == NO_ANSWER:
                    return True
                assert answer.headers["x-request-id"] == request_id, "an answer that belongs to another request"
                self.received[request_id] = answer.status
                if answer.headers.get("connection") == "close":
                    return True
        return False


class Round(NamedTuple):
    """Ids. `lost`: answered by the log's words, but not received. `unanswered`: known to the log, sent whole, not answered.
    `statuses`: of what was received. `unknown`: sent whole into a connection that was being closed; never in the log."""

    lost: set[str]
    unanswered: set[str]
    statuses: set[int]
    answered: int
    unknown: int
    exit_code: int
    seconds: float


def try_it(rounds: int = ROUNDS) -> tuple[bool, str]:
    moments = random.Random(1)
    found = [one_round(f"r{number}", moments.uniform(0.05, 0.6)) for number in range(rounds)]
    lost, unanswered = sum(len(each.lost) for each in found), sum(len(each.unanswered) for each in found)
    unknown = sum(each.unknown for each in found)
    exits, statuses = {each.exit_code for each in found}, set().union(*(each.statuses for each in found))
    answered, slowest = sum(each.answered for each in found), max(each.seconds for each in found)
    held = not lost and not unanswered and exits == {-signal.SIGTERM} and slowest <= DRAIN_SECONDS and statuses <= {200, 503}
    return held and answered >= rounds, (
        f"{answered:,} answered ({', '.join(map(str, sorted(statuses)))}), {lost} lost, {unanswered} unanswered, "
        f"{unknown} sent into a closing connection; exit {sorted(exits)}, after {slowest:.1f} s at most"
    )


def one_round(name: str, seconds: float) -> Round:
    with serving(drain_seconds=DRAIN_SECONDS) as service:
        clients = [Client(service.port, f"{name}-{number}") for number in range(CLIENTS)]
        for client in clients:
            client.start()
        time.sleep(seconds)
        begin = time.monotonic()
        service.process.send_signal(signal.SIGTERM)
        service.process.wait(STOP_SECONDS)
        took = time.monotonic() - begin
        for client in clients:
            client.join(STOP_SECONDS)
        return compared(service, clients, took)


def compared(service: Service, clients: list[Client], seconds: float) -> Round:
    logged = {str(record["request_id"]): int(record["status"]) for record in service.requests()}
    sent = {request_id for client in clients for request_id in client.sent}
    received = {request_id: status for client in clients for request_id, status in client.received.items()}
    return Round(
        lost={request_id for request_id, status in logged.items() if status and request_id in sent | received.keys()}
        - {request_id for request_id, status in received.items() if status == logged.get(request_id)},
        unanswered={request_id for request_id in sent if request_id in logged and request_id not in received},
        statuses=set(received.values()),
        answered=len(received),
        unknown=len(sent - logged.keys()),
        exit_code=service.process.returncode,
        seconds=seconds,
    )
