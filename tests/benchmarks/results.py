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
    """One server under one load in one round.

    `cpu_ms`: per request, of the server's process tree. `rss`, `pss`: peak bytes under load, of all its processes.
    """

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


class Split(msgspec.Struct, frozen=True, kw_only=True):
    """Median ms of a request by a single client.

    `service`: reading the body, and passing between threads. `client`: what the service does not see, and the client itself.
    """

    decode: float
    queue: float
    inference: float
    service: float
    client: float


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """`rss`: bytes after so many requests."""

    requests: list[int]
    rss: list[int]


class Lanes(msgspec.Struct, frozen=True, kw_only=True):
    lanes: int
    max_batch_size: int
    images_per_second: float


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """Our service in its best variant. `work_cpu_ms`: CPU time of decoding and inference alone, one after the other."""

    variant: str
    split: Split
    growth: Growth
    work_cpu_ms: float
    lanes: list[Lanes]


class Engines(msgspec.Struct, frozen=True, kw_only=True):
    """Median ms of the int8 network alone on one thread."""

    ours: float
    openvino: float


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """`servers`: the peers' folders by name. `agreement`: the largest difference of a probability, by server.

    `own` and `engines` are None if a partial run left them out.
    """

    name: str
    backbone: str
    servers: dict[str, str]
    agreement: dict[str, float]
    starts: list[Start]
    cells: list[Cell]
    own: Own | None
    engines: Engines | None


class Result(msgspec.Struct, frozen=True, kw_only=True):
    processor: str
    cpus: int
    date: str
    command: str
    rounds: int
    seconds: float
    versions: dict[str, dict[str, str]]
    models: list[Model]


def write(result: Result, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")


def read(folder: Path = FOLDER) -> Result:
    return msgspec.json.decode((folder / FILE).read_bytes(), type=Result)


def record(path: Path, figures: dict[str, Any]) -> dict[str, Any]:  # Any: JSON
    """Writes the figures of one of the smaller benchmarks, with the machine's, and returns them all."""
    result = {"processor": run_folder.environment()["processor"], "cpus": machine.available_cpus(), **figures}
    path.write_text(json.dumps(result, indent=2) + "\n")
    return result
