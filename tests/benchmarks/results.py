"""Results of a run: the structure of serving.KIND.json, from which the report can be written again."""

import json
from pathlib import Path
from typing import Any

import msgspec

from service import machine
from tests.benchmarks.client import Load
from training import run_folder

FOLDER = Path(__file__).parent  # the results of complete runs, in git
FILE = "serving.{}.json"  # of each kind of machine the newest: a run replaces that of its own kind alone
KINDS = {"AuthenticAMD": "amd", "GenuineIntel": "intel"}  # by cpuinfo's vendor_id
OTHER = "other"
# What makes networks fast, as Linux calls it.
INSTRUCTIONS = (
    "avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16", "asimddp", "i8mm", "bf16",
)  # fmt: skip


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One server under one load in one round. `cpu_ms`: of its process tree, per request. `rss`, `pss`: its peak bytes."""

    server: str
    image: str
    connections: int
    load: Load
    cpu_ms: float
    rss: int
    pss: int

    @property
    def requests_per_second(self) -> float:
        return self.load.requests / self.load.seconds


class Start(msgspec.Struct, frozen=True, kw_only=True):
    server: str
    seconds: float


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    requests: list[int]
    rss: list[int]


class Lanes(msgspec.Struct, frozen=True, kw_only=True):
    lanes: int
    max_batch_size: int
    images_per_second: float


class Processes(msgspec.Struct, frozen=True, kw_only=True):
    """So many processes behind one port, the large JPEG, eight connections: medians of rounds in turn. `pss`: bytes."""

    processes: int
    requests_per_second: float
    p99_ms: float
    pss: float


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """Our best variant. `split`: median ms of a request's parts. `work_cpu_ms`: CPU time of decoding and inference alone.
    `event_loop_ms`: CPU time a request of the event loop's thread, with the small JPEG at eight connections."""

    variant: str
    split: dict[str, float]
    growth: Growth
    work_cpu_ms: float
    event_loop_ms: float
    lanes: list[Lanes]
    processes: list[Processes]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """By server: `servers`, the peers' folders; `agreement`, the largest difference of a probability. `failures`: what a server
    could not do, and why; such a cell is missing in `cells`."""

    name: str
    backbone: str
    servers: dict[str, str]
    agreement: dict[str, float]
    starts: list[Start]
    cells: list[Cell]
    failures: list[str]
    own: Own


class Result(msgspec.Struct, frozen=True, kw_only=True):
    processor: str
    instructions: list[str]
    cpus: int
    date: str
    command: str
    rounds: int
    seconds: float
    versions: dict[str, dict[str, str]]
    models: list[Model]


def read_all(folder: Path = FOLDER) -> dict[str, Result]:
    """By kind of machine."""
    kinds = (*KINDS.values(), OTHER)
    paths = {kind: folder / FILE.format(kind) for kind in kinds}
    return {kind: msgspec.json.decode(path.read_bytes(), type=Result) for kind, path in paths.items() if path.exists()}


def newest(folder: Path = FOLDER) -> Result:
    return max(read_all(folder).values(), key=lambda result: result.date)


def machine_kind() -> str:
    return next((kind for vendor, kind in KINDS.items() if vendor in _cpuinfo()), OTHER)


def instructions() -> list[str]:
    """Those of this CPU that networks use."""
    flags = set(_cpuinfo().split())
    return [name for name in INSTRUCTIONS if name in flags]


def _cpuinfo() -> str:
    return Path("/proc/cpuinfo").read_text(errors="replace")


def measured_on() -> dict[str, Any]:  # Any: JSON, as below
    return {"processor": run_folder.environment()["processor"], "cpus": machine.available_cpus()}


def record(path: Path, figures: dict[str, Any]) -> dict[str, Any]:
    result = {**measured_on(), **figures}
    path.write_text(json.dumps(result, indent=2) + "\n")
    return result
