"""Predicts files on a Ray cluster.
Nothing else in the project imports Ray. Model and program travel with the work. The images do not: the nodes read them from a
file system that they share. Ray repeats the work that is lost with a node, and delivers each block of entries once."""

import logging
import math
import os
import socket
from collections.abc import Generator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import ray
import ray.data
from ray.exceptions import RayError

from service.archive.entries import Entry, predict_file
from service.engine.engine import Engine
from service.errors import ArchiveError
from service.model.artefact import Artefact
from service.settings import Settings

BLOCK = 64  # files: seconds of work, so that little is lost with a node, and far more than it takes to distribute them
CONNECT_SECONDS = 10
PROGRAM = Path(__file__).parent.parent

Batch = dict[str, npt.NDArray[Any]]  # Any: of strings, bytes


class Worker:
    """One CPU of the cluster, with a model of its own."""

    def __init__(self, model: "list[ray.ObjectRef[tuple[Artefact, Settings]]]") -> None:
        self._engine = Engine(*ray.get(model[0]))

    def __call__(self, batch: Batch) -> Batch:
        files = zip(batch["name"], batch["path"], strict=True)
        entries = [predict_file(self._engine, name, os.fsdecode(path)) for name, path in files]
        return {"entry": np.array([msgspec.json.encode(entry) for entry in entries], dtype=object)}


def predict_files(engine: Engine, files: dict[str, str], workers: int | None) -> Generator[Entry, None, None]:
    """Entries in any order. Raises ArchiveError if there is no cluster, or if it cannot finish the work."""
    if not files:
        return
    try:
        _connect()
        # Referenced here until the end, because a worker may have to be started again at any time.
        model = ray.put((engine.artefact, engine.settings))
        rows = [{"name": name, "path": os.fsencode(path)} for name, path in files.items()]
        blocks = ray.data.from_items(rows, override_num_blocks=math.ceil(len(rows) / BLOCK))
        cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
        pool = ray.data.ActorPoolStrategy(size=min(workers or cpus, blocks.num_blocks()))  # growing would come too late
        results = blocks.map_batches(Worker, fn_constructor_args=([model],), batch_size=None, compute=pool, num_cpus=1)
        for batch in results.iter_batches(batch_size=None):
            for entry in batch["entry"]:
                yield msgspec.json.decode(entry, type=Entry)
    except (RayError, ConnectionError) as error:
        raise ArchiveError(f"--engine ray: {str(error).strip().splitlines()[-1]}") from error
    finally:
        ray.shutdown()


def _connect() -> None:
    """Connects to the cluster of RAY_ADDRESS, or to one that runs on this machine; otherwise starts one. Prints nothing."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that starts here reports to nobody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes as an exception
    address = os.environ.get("RAY_ADDRESS", "")
    host, _, port = address.rpartition(":")
    try:
        if host and port.isdecimal():  # Ray itself would try for minutes
            socket.create_connection((host, int(port)), CONNECT_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ArchiveError(f"RAY_ADDRESS={address}: cannot connect: {error}") from error
    ray.init(runtime_env={"py_modules": [str(PROGRAM)]}, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False
