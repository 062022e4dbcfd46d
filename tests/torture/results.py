"""What a run found: the shape of results.json and soak.json, from which the README is written."""

import datetime
import os
from pathlib import Path
from typing import TypeVar

import msgspec

FOLDER = Path(__file__).parent
RESULTS = FOLDER / "results.json"
SOAK = FOLDER / "soak.json"

Document = TypeVar("Document", bound=msgspec.Struct)


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A case of `inputs`. `status` 0: closed without an answer. `wrong`: what was not as it should be, empty if all was."""

    name: str
    expected: list[int]
    status: int
    ms: float
    healthy: bool
    wrong: str


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One fault or one goal. `held` is None where it could not be tried here; `found` then says why."""

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
    """By the name of the part that was run: a part that is run alone leaves the others' as they were."""

    sections: dict[str, Section] = {}


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    seconds: float
    rss_mb: float
    descriptors: int
    threads: int


class Soak(msgspec.Struct, frozen=True, kw_only=True):
    """`rss_slope`: MB an hour, by least squares over what came after the warm-up. `statuses`: answers by status."""

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


def section(seconds: float, *, answered: list[Answered] | None = None, checks: list[Check] | None = None) -> Section:
    return Section(
        date=today(), processor=processor(), cpus=cpus(), seconds=round(seconds), answered=answered or [], checks=checks or []
    )


def load(path: Path, kind: type[Document]) -> Document | None:
    return msgspec.json.decode(path.read_bytes(), type=kind) if path.exists() else None


def save(path: Path, document: msgspec.Struct) -> None:
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")


def today() -> str:
    return datetime.date.today().isoformat()


def cpus() -> int:
    return len(os.sched_getaffinity(0))


def processor() -> str:
    """As Linux calls it; many hypervisors say no more than the maker's name, so its family and model too."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    name = fields.get("model name", "unknown")
    return f"{name} (family {fields['cpu family']}, model {fields['model']})" if "cpu family" in fields else name
