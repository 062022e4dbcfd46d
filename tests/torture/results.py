"""Results of the torture runs: the structure of results.json and soak.json, from which README.md is written."""

import datetime
import platform
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from service import machine

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
SOAK = FOLDER / "soak.json"

Document = TypeVar("Document", bound=msgspec.Struct)


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A case of `inputs`. `status` 0: closed without an answer. `wrong` says what is wrong, and is empty if nothing is."""

    name: str
    expected: list[int]
    status: int
    ms: float
    healthy: bool
    wrong: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One fault or one goal. `held` is None where it could not be tried; `found` then gives the reason."""

    name: str
    expected: str
    found: str
    held: bool | None
    seconds: float = 0


class Section(msgspec.Struct, frozen=True, kw_only=True):
    date: str
    processor: str
    cpus: int
    seconds: float
    answered: list[Answered] = []
    checks: list[Check] = []


class Results(msgspec.Struct, kw_only=True):
    """Sections by the name of their part. A part that runs alone leaves the others as they were."""

    sections: dict[str, Section] = {}


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    seconds: float
    rss_mb: float
    descriptors: int
    threads: int


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    """`rss_slope`: MB per hour, by least squares over the samples after the warm-up. `statuses`: answers by status."""

    date: str
    processor: str
    cpus: int
    minutes: float
    warm_up_minutes: float
    rate: float
    peak: float
    statuses: dict[str, int]
    unexpected: int
    rss_slope: float
    rss_mb: tuple[float, float]
    descriptors: tuple[int, int]
    threads: tuple[int, int]
    samples: list[Sample]


def checked(name: str, expected: str, try_it: Callable[[], tuple[bool, str]]) -> Check:
    """Runs `try_it`, which returns whether it held and what was found. An exception of it counts as not held."""
    begin = time.monotonic()
    try:
        held, found = try_it()
    except (OSError, RuntimeError, LookupError, AssertionError, subprocess.TimeoutExpired) as error:
        held, found = False, f"{type(error).__name__}: {error}"
    print(f"  {'held' if held else 'FAILED'}: {name}: {found}", flush=True)
    return Check(name=name, expected=expected, found=found, held=held, seconds=round(time.monotonic() - begin, 1))


def section(seconds: float, *, answered: list[Answered] | None = None, checks: list[Check] | None = None) -> Section:
    return Section(**surroundings(), seconds=round(seconds), answered=answered or [], checks=checks or [])


def processor() -> str:
    """The name of the CPU. (Torch would know it too, but the service's tests run without torch.)"""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def surroundings() -> dict[str, Any]:  # Any: fields of several types
    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cpus": machine.available_cpus(),
    }


def load(path: Path, kind: type[Document]) -> Document | None:
    return msgspec.json.decode(path.read_bytes(), type=kind) if path.exists() else None


def save(path: Path, document: msgspec.Struct) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")
