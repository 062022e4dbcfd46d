"""Results of a run: the structure of serving.json, from which the report can be written again."""

import json
from pathlib import Path
from typing import Any

import msgspec

from service import machine
from tests.benchmarks.client import Load
from training import run_folder

FOLDER = Path(__file__).parent  # the results of complete runs, in git
FILE = "serving.json"


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


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """Our best variant. `split`: median ms of a request's parts. `work_cpu_ms`: CPU time of decoding and inference alone."""

    variant: str
    split: dict[str, float]
    growth: Growth
    work_cpu_ms: float
    lanes: list[Lanes]


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """By server: `servers`, the peers' folders; `agreement`, the largest difference of a probability."""

    name: str
    backbone: str
    servers: dict[str, str]
    agreement: dict[str, float]
    starts: list[Start]
    cells: list[Cell]
    own: Own


class Result(msgspec.Struct, frozen=True, kw_only=True):
    processor: str
    cpus: int
    date: str
    command: str
    rounds: int
    seconds: float
    versions: dict[str, dict[str, str]]
    models: list[Model]


def read(folder: Path = FOLDER) -> Result:
    return msgspec.json.decode((folder / FILE).read_bytes(), type=Result)


def measured_on() -> dict[str, Any]:  # Any: JSON, as below
    return {"processor": run_folder.environment()["processor"], "cpus": machine.available_cpus()}


def record(path: Path, figures: dict[str, Any]) -> dict[str, Any]:
    result = {**measured_on(), **figures}
    path.write_text(json.dumps(result, indent=2) + "\n")
    return result
