"""SIGTERM at a random moment under load: no answer that the log reports is lost, and every request in the log is answered."""

import random
import signal
import threading
import time

from tests.torture.inputs import png
from tests.torture.process import STOP_SECONDS, serving
from tests.torture.wire import NO_ANSWER, connect, post, read

ROUNDS = 50
CLIENTS = 6
DRAIN_SECONDS = 10
EXPECTED = f"nothing accepted is lost; exit by the signal in MEDXFER_DRAIN_SECONDS={DRAIN_SECONDS}"


class Client(threading.Thread):
    """Posts images one after another until the service is gone, each with a request id of its own.

    `sent`: ids of requests that were sent completely. `answers`: the statuses of complete answers, by id.
    """

    def __init__(self, port: int, name: str) -> None:
        super().__init__()
        self._port, self._name = port, name
        self.sent: list[str] = []
        self.answers: dict[str, int] = {}

    def run(self) -> None:
        try:
            while True:
                self._use_connection()
        except OSError:
            return  # refused or reset: the service no longer listens

    def _use_connection(self) -> None:
        """Sends requests on one connection until the service closes it."""
        with connect(self._port) as connection:
            while True:
                request_id = f"{self._name}-{len(self.sent)}"
                connection.sendall(post(png(), f"X-Request-ID: {request_id}"))
                self.sent.append(request_id)
                answer = read(connection)
                if answer.status == NO_ANSWER:
                    return
                assert answer.headers["x-request-id"] == request_id, "an answer that belongs to another request"
                self.answers[request_id] = answer.status
                if answer.headers.get("connection") == "close":
                    return


def run() -> tuple[bool, str]:
    dice = random.Random(1)
    sent: set[str] = set()
    logged: dict[str, int] = {}
    answers: dict[str, int] = {}
    exits: set[int] = set()
    slowest = 0.0
    for number in range(ROUNDS):
        with serving(drain_seconds=DRAIN_SECONDS) as service:
            clients = [Client(service.port, f"r{number}-{client}") for client in range(CLIENTS)]
            for client in clients:
                client.start()
            time.sleep(dice.uniform(0.05, 0.6))
            begin = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
            exits.add(service.process.wait(STOP_SECONDS))
            slowest = max(slowest, time.monotonic() - begin)
            for client in clients:
                client.join(STOP_SECONDS)
                sent |= set(client.sent)
                answers |= client.answers
            logged |= {str(entry["request_id"]): int(entry["status"]) for entry in service.requests()}
    lost = sum(logged[request_id] not in (0, answers.get(request_id)) for request_id in sent & logged.keys())
    unanswered = len((sent & logged.keys()) - answers.keys())
    statuses = set(answers.values())
    held = not lost and not unanswered and exits == {-signal.SIGTERM} and slowest <= DRAIN_SECONDS and statuses <= {200, 503}
    return held and len(answers) >= ROUNDS, (
        f"{len(answers):,} answered ({', '.join(map(str, sorted(statuses)))}), {lost} lost, {unanswered} unanswered, "
        f"{len(sent - logged.keys())} sent into a closing connection; exit {sorted(exits)}, after {slowest:.1f} s at most"
    )
