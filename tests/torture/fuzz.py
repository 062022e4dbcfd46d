"""Requests with random damage, many at once: no answer is a 5xx, none is missing, and the service stays healthy.

python -m tests.torture.fuzz [REQUESTS [SEED]]        the same seed gives the same requests
"""

import asyncio
import collections
import random
import sys
import time

import uvloop

from tests.torture import inputs, results
from tests.torture.process import Service, serving
from tests.torture.wire import BOUNDARY, HOST, NO_ANSWER, chunked, form, get, part, post, read_async

REQUESTS = 100_000
SEED = 1
CONNECTIONS = 32
HANG_SECONDS = 10.0
PATIENCE_SECONDS = 1.0  # for a request that may lack its end; one in ten of those waits until the service ends it
LEFT, HUNG, GARBLED = "client left", "hung", "no HTTP"

WORDS = [
    b"\0", b"\r\n", b"\r\n\r\n", b"\xff", b"--", b"0\r\n\r\n", b"99999999999999999999", b"-1", b"%00", b"%n", b"../", b";",
    b'"', b":", b"chunked", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"X-Request-Timeout-Ms: 1x\r\n",
    b"image", b"images", b"filename*=utf-8''", b"IHDR", b"IDAT", b"\xff\xd8\xff", b"\xff\xda", b"\x7f\xff\xff\xff",
    f"--{BOUNDARY}".encode(),
]  # fmt: skip


def run(requests: int = REQUESTS, seed: int = SEED) -> results.Section:
    begin = time.monotonic()
    check = results.checked(
        f"{requests:,} mutated requests, seed {seed}",
        "each answered or closed, none by 5xx or 429; no error in the log; healthy afterwards",
        lambda: fuzz(requests, seed),
    )
    return results.section(time.monotonic() - begin, checks=[check])


def fuzz(requests: int, seed: int) -> tuple[bool, str]:
    with serving() as service:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            outcomes, failures = runner.run(send_all(service, requests, seed))
        last = inputs.check(service, inputs.case("a good image", 200, post(inputs.jpeg())))
        failures += [f"afterwards: {last.wrong}"] * bool(last.wrong) + [f"log: {error[:300]}" for error in service.errors()]
    counts = ", ".join(f"{outcome}: {count:,}" for outcome, count in sorted(outcomes.items()))
    found = counts + (f"; failures: {'; '.join(failures[:10])}" if failures else "")
    return not failures and outcomes.total() == requests, found


async def send_all(service: Service, requests: int, seed: int) -> tuple[collections.Counter[str], list[str]]:
    outcomes: collections.Counter[str] = collections.Counter()
    failures: list[str] = []
    numbers = iter(range(requests))

    async def work() -> None:
        for number in numbers:  # all workers share them
            dice = random.Random(f"{seed}-{number}")
            content = dice.choice(MAKERS)(dice)
            ending = dice.choices(("waits", "leaves", "resets"), (90, 5, 5))[0]
            if ending != "waits":
                content = content[: dice.randrange(1, len(content) + 1)]
            outcome = await outcome_of(service.port, content, ending, patient=ending == "leaves" or dice.random() < 0.1)
            outcomes[outcome] += 1
            if outcome in (HUNG, GARBLED, "429") or outcome.startswith("5"):
                failures.append(f"number {number}: {outcome}: {content[:100]!r}")

    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return outcomes, failures


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


def mutated_image(dice: random.Random) -> bytes:
    """Its framing is right, so that it reaches the decoder."""
    image = damage(dice, dice.choice((inputs.jpeg(), inputs.png())))
    return dice.choice((post, chunked, lambda content: form(part(content))))(image)


def mutated_form(dice: random.Random) -> bytes:
    """Its Content-Length is right."""
    path, name = dice.choice((("/predict", "image"), ("/predict/batch", "images")))
    parts = part(inputs.png(), name) * dice.randint(1, 3)
    return form(damage(dice, parts, within=dice.choice((60, 200, len(parts)))), path=path)


def mutated_head(dice: random.Random) -> bytes:
    content = dice.choice((post(inputs.png()), form(part(inputs.png())), get("/health"), get("/model-info")))
    return damage(dice, content, within=content.index(b"\r\n\r\n") + 4)


def mutated_path(dice: random.Random) -> bytes:
    path = damage(dice, dice.choice((b"/predict?heatmap=true", b"/health/live", b"/predict/batch", b"/schema/openapi.json")))
    return dice.choice((b"GET ", b"POST ", b"HEAD ", b"OPTIONS ")) + path + post(b"").removeprefix(b"POST /predict")


def mutated_chunks(dice: random.Random) -> bytes:
    content = chunked(*[inputs.png()[start : start + 512] for start in range(0, len(inputs.png()), 512)])
    start = content.index(b"\r\n\r\n") + 4
    return content[:start] + damage(dice, content[start:], within=dice.choice((4, 1_000, len(content))))


def noise(dice: random.Random) -> bytes:
    return dice.randbytes(dice.randrange(1, 3_000))


MAKERS = (mutated_image, mutated_image, mutated_form, mutated_form, mutated_head, mutated_path, mutated_chunks, noise)


def damage(dice: random.Random, content: bytes, within: int | None = None) -> bytes:
    """Makes one to four changes among the first `within` bytes."""
    damaged = bytearray(content)
    for _ in range(dice.randint(1, 4)):
        place = dice.randrange(min(within or len(damaged), len(damaged)) or 1)
        replacements = (
            (1, dice.randbytes(1)),
            (1, bytes(byte ^ 1 << dice.randrange(8) for byte in damaged[place : place + 1])),
            (dice.randint(1, 40), b""),
            (0, dice.choice(WORDS)),
            (0, damaged[place : place + dice.randint(1, 200)]),
        )
        length, replacement = dice.choice(replacements)
        damaged[place : place + length] = replacement
    return bytes(damaged)


if __name__ == "__main__":
    print(run(*map(int, sys.argv[1:])).checks[0].found)
