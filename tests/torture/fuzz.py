"""Requests with random damage: each gets an answer, and none a 5xx.  python -m tests.torture.fuzz [REQUESTS [SEED]]"""

import asyncio
import collections
import random
import sys
from functools import partial

import uvloop

from tests.torture import inputs, results
from tests.torture.inputs import JPEG, PNG
from tests.torture.process import serving
from tests.torture.wire import BOUNDARY, HOST, NO_ANSWER, chunked, form, get, part, post, read_async

CONNECTIONS = 32
HANG_SECONDS = 10.0
PATIENCE_SECONDS = 1.0  # for a request that may lack its end; one in ten of those waits until the service ends it
LEFT, HUNG, GARBLED = "client left", "hung", "no HTTP"
WORDS = (
    b"\0|\r\n|\r\n\r\n|\xff|--|0\r\n\r\n|99999999999999999999|-1|%00|%n|../|;|\"|:|chunked|image|images|filename*=utf-8''|"
    b"IHDR|IDAT|\xff\xd8\xff|\xff\xda|\x7f\xff\xff\xff|Content-Length: 5\r\n|Transfer-Encoding: chunked\r\n|"
    b"X-Request-Timeout-Ms: 1x\r\n|--" + BOUNDARY.encode()
).split(b"|")


def run(requests: int = 100_000, seed: int = 1) -> results.Findings:
    expected = "each answered or closed, none by 5xx or 429; no error in the log; healthy afterwards"
    return [results.checked(f"{requests:,} mutated requests, seed {seed}", expected, partial(fuzz, requests, seed))]


def fuzz(requests: int, seed: int) -> results.Outcome:
    outcomes: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    numbers = iter(range(requests))

    async def work() -> None:
        for number in numbers:  # all workers share them
            dice = random.Random(f"{seed}-{number}")
            content = mutated(dice)
            ending = dice.choices(("waits", "leaves", "resets"), (90, 5, 5))[0]
            if ending != "waits":
                content = content[: dice.randint(0, len(content))]
            outcome = await outcome_of(service.port, content, ending, patient=ending == "leaves" or dice.random() < 0.1)
            outcomes[outcome] += 1
            if outcome in (HUNG, GARBLED, "429") or outcome.startswith("5"):
                failures.append(f"number {number}: {outcome}: {content[:100]!r}")

    async def work_all() -> None:
        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))

    with serving() as service:
        uvloop.run(work_all())
        last = inputs.check(service, inputs.case("a good image", 200, post(JPEG)))
        failures += [f"afterwards: {last.wrong}"] * bool(last.wrong) + [f"log: {error[:300]}" for error in service.errors()]
    counts = ", ".join(f"{outcome}: {count:,}" for outcome, count in sorted(outcomes.items()))
    found = counts + (f"; failures: {'; '.join(failures[:10])}" if failures else "")
    return not failures and outcomes.total() == requests, found


async def outcome_of(port: int, content: bytes, ending: str, *, patient: bool) -> str:
    """`ending`: what the client does once it has sent `content`: it waits, ends its sending, or resets the connection."""
    closed = "closed unanswered" if ending == "waits" else "closed after the client"
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(content)
        if ending == "resets":
            return LEFT
        if ending == "leaves":
            writer.write_eof()
        seconds = HANG_SECONDS if patient else PATIENCE_SECONDS
        answer = await asyncio.wait_for(read_async(reader, content.startswith(b"HEAD ")), seconds)
    except TimeoutError:
        return HUNG if patient else LEFT
    except ConnectionError:
        return closed
    except (ValueError, KeyError):
        return GARBLED
    finally:
        writer.transport.abort()
    return closed if answer.status == NO_ANSWER else str(answer.status)


def mutated(dice: random.Random) -> bytes:
    kind = dice.choice(("image", "image", "form", "form", "head", "path", "chunks", "noise"))
    if kind == "image":
        return dice.choice((post, chunked, lambda content: form(part(content))))(damage(dice, dice.choice((JPEG, PNG))))
    if kind == "form":
        address, name = dice.choice((("/predict", "image"), ("/predict/batch", "images")))
        parts = part(PNG, name) * dice.randint(1, 3)
        return form(damage(dice, parts, within=dice.choice((60, 200, len(parts)))), path=address)
    if kind == "head":
        content = dice.choice((post(PNG), form(part(PNG)), get("/health"), get("/model-info")))
        return damage(dice, content, within=content.index(b"\r\n\r\n") + 4)
    if kind == "path":
        path = dice.choice((b"/predict?heatmap=true", b"/health/live", b"/predict/batch", b"/schema/openapi.json"))
        return (
            dice.choice((b"GET ", b"POST ", b"HEAD ", b"OPTIONS "))
            + damage(dice, path)
            + post(b"").removeprefix(b"POST /predict")
        )
    if kind == "chunks":
        head, blank, body = chunked(*(PNG[start : start + 512] for start in range(0, len(PNG), 512))).partition(b"\r\n\r\n")
        return head + blank + damage(dice, body, within=dice.choice((4, 1_000, len(body))))
    return dice.randbytes(dice.randrange(1, 3_000))


def damage(dice: random.Random, content: bytes, within: int | None = None) -> bytes:
    damaged = bytearray(content)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(min(within or len(damaged), len(damaged)) or 1)
        flipped = bytes(byte ^ 1 << dice.randrange(8) for byte in damaged[place : place + 1])
        again = damaged[place : place + dice.randint(1, 200)]
        changes = (1, dice.randbytes(1)), (1, flipped), (dice.randint(1, 40), b""), (0, dice.choice(WORDS)), (0, again)
        length, replacement = dice.choice(changes)
        damaged[place : place + length] = replacement
    return bytes(damaged)


if __name__ == "__main__":
    run(*map(int, sys.argv[1:]))
