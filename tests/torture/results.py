"""Results of the torture runs: the structure of results.json and soak.json, from which README.md is written."""

import datetime
import platform
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from service import machine

FOLDER = Path(__file__).parent
RESULTS, SOAK = FOLDER / "results.json", FOLDER / "soak.json"
Document = TypeVar("Document", bound=msgspec.Struct)
Findings = Sequence["Answered | Check"]  # of one part
Outcome = tuple[bool, str]  # whether a goal was met, and what was found


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    name: str  # of a case of `inputs`
    expected: list[int]
    status: int  # 0: closed without an answer
    ms: float
    healthy: bool
    wrong: str  # empty if nothing is


class Check(msgspec.Struct, frozen=True, kw_only=True):
    name: str  # of a fault or a goal
    expected: str
    found: str
    held: bool | None  # None: it could not be tried, for the reason in `found`
    seconds: float = 0


class Section(msgspec.Struct, frozen=True, kw_only=True):
    date: str
    processor: str
    cpus: int
    seconds: float
    answered: list[Answered] = []
    checks: list[Check] = []


class Results(msgspec.Struct, kw_only=True):
    sections: dict[str, Section] = {}  # by the name of their part; a part that runs alone leaves the others as they were


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    seconds: float
    rss_mb: float
    descriptors: int
    threads: int


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    date: str
    processor: str
    cpus: int
    minutes: float
    warm_up_minutes: float
    rate: float
    peak: float
    statuses: dict[str, int]  # answers by status
    unexpected: int
    rss_slope: float  # MB per hour, by least squares over the samples after the warm-up
    rss_mb: tuple[float, float]
    descriptors: tuple[int, int]
    threads: tuple[int, int]
    samples: list[Sample]


def checked(name: str, expected: str, outcome: Outcome | Callable[[], Outcome]) -> Check:
    begin = time.monotonic()
    try:
        held, found = outcome() if callable(outcome) else outcome
    except (OSError, RuntimeError, LookupError, AssertionError, subprocess.TimeoutExpired) as error:  # not held
        held, found = False, f"{type(error).__name__}: {error}"
    print(f"  {'held' if held else 'FAILED'}: {name}: {found}", flush=True)
    return Check(name=name, expected=expected, found=found, held=held, seconds=round(time.monotonic() - begin, 1))


def section(part: Callable[[], Findings]) -> Section:
    begin, found = time.monotonic(), part()
    answered = [one for one in found if isinstance(one, Answered)]
    checks = [one for one in found if isinstance(one, Check)]
    return Section(**surroundings(), seconds=round(time.monotonic() - begin), answered=answered, checks=checks)


def surroundings() -> dict[str, Any]:  # Any: fields of several types
    lines = Path("/proc/cpuinfo").read_text().splitlines()  # torch knows the name, too, but the service's tests lack torch
    processor = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    return {"date": datetime.date.today().isoformat(), "processor": processor, "cpus": machine.available_cpus()}


def load(path: Path, kind: type[Document]) -> Document | None:
    return msgspec.json.decode(path.read_bytes(), type=kind) if path.exists() else None


def save(path: Path, document: msgspec.Struct) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
