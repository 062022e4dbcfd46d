"""What a run measured: the shape of serving.json, from which the report can be written again."""

from pathlib import Path
from typing import Any

import msgspec

from tests.benchmarks.client import Load

FOLDER = Path(__file__).parent  # where a whole run's results stand, in git
FILE = "serving.json"


class Cell(msgspec.Struct, frozen=True, kw_only=True):
    """One server under one load in one round. `cpu_ms`: a request's, of the server's whole process tree. `rss`, `pss`: bytes,
    the highest while loaded, of all its processes."""

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
    """Medians, ms, of a request by a lone client. `service`: reading of the body, and passage between threads. `client`: what
    the service does not see, the client's own part too."""

    decode: float
    queue: float
    inference: float
    service: float
    client: float


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """`rss`: bytes, after so many requests."""

    requests: list[int]
    rss: list[int]


class Lanes(msgspec.Struct, frozen=True, kw_only=True):
    lanes: int
    max_batch_size: int
    images_per_second: float


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """Of our service in its best variant. `work_cpu_ms`: CPU time of decoding and inference alone, one by one."""

    variant: str
    split: Split
    growth: Growth
    work_cpu_ms: float
    lanes: list[Lanes]


class Engines(msgspec.Struct, frozen=True, kw_only=True):
    """The int8 network alone on one thread, medians, ms."""

    ours: float
    openvino: float


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """`servers`: peers' folders by name, in order. `agreement`: the largest difference of a probability, by server.
    `own`, `engines`: None where a part of a run left them out. `openvino`: what prepare.py tried and chose."""

    name: str
    backbone: str
    servers: dict[str, str]
    agreement: dict[str, float]
    starts: list[Start]
    cells: list[Cell]
    own: Own | None
    engines: Engines | None
    openvino: dict[str, Any]  # Any: as prepare.py wrote it


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
