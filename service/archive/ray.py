"""The engine for a Ray cluster. Nothing else in the project loads Ray.

Model and program travel with the work; the images do not: the nodes read them from a file system they share. Ray runs again
what was lost with a node, and hands on each block of rows once.
"""

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

from service.archive.entries import Line, Reader
from service.errors import MedXferError
from service.model.artefact import Artefact

BLOCK = 64  # files: seconds of work, so that little is lost with a node, and far more than it takes to hand them out
KNOCK_SECONDS = 10
PROGRAM = Path(__file__).parent.parent

Batch = dict[str, npt.NDArray[Any]]  # Any: of objects, bytes


class RayFailed(MedXferError):
    """There is no cluster, or it could not end the work."""


class Worker:
    """One CPU of the cluster, with a model of its own."""

    def __init__(self, artefact: "list[ray.ObjectRef[Artefact]]") -> None:
        self._reader = Reader(ray.get(artefact[0]))

    def __call__(self, batch: Batch) -> Batch:
        lines = [
            self._reader.read(Path(os.fsdecode(path)), name) for name, path in zip(batch["name"], batch["path"], strict=True)
        ]
        return {"line": np.array([msgspec.json.encode(line) for line in lines], dtype=object)}


def on_cluster(artefact: Artefact, files: dict[str, str], workers: int | None) -> Generator[Line, None, None]:
    """In no order. Raises RayFailed."""
    if not files:
        return
    try:
        _connect()
        # Held here, and so for as long as any worker may have to start anew.
        model = ray.put(artefact)
        rows = [{"name": name, "path": os.fsencode(path)} for name, path in files.items()]
        count = math.ceil(len(rows) / BLOCK)
        blocks = ray.data.from_items(rows, override_num_blocks=count)
        pool = ray.data.ActorPoolStrategy(size=min(workers or _cpus(), count))  # growing would come late
        done = blocks.map_batches(Worker, fn_constructor_args=([model],), batch_size=None, compute=pool, num_cpus=1)
        for batch in done.iter_batches(batch_size=None):
            for line in batch["line"]:
                yield msgspec.json.decode(line, type=Line)
    except (RayError, ConnectionError) as error:
        raise RayFailed(f"--engine ray: {str(error).strip().splitlines()[-1]}") from error
    finally:
        ray.shutdown()


def _connect() -> None:
    """To the cluster that RAY_ADDRESS names, or that was started on this machine; or start one. Without chatter."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that starts here reports to nobody
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters comes as an exception
    _knock(os.environ.get("RAY_ADDRESS", ""))
    ray.init(runtime_env={"py_modules": [str(PROGRAM)]}, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    ray.data.DataContext.get_current().enable_progress_bars = False


def _knock(address: str) -> None:
    """Ray itself would try for minutes. Raises RayFailed."""
    host, _, port = address.rpartition(":")
    if host and port.isdecimal():
        try:
            socket.create_connection((host, int(port)), KNOCK_SECONDS).close()
        except (OSError, OverflowError) as error:
            raise RayFailed(f"RAY_ADDRESS={address}: cannot connect: {getattr(error, 'strerror', None) or error}") from error


def _cpus() -> int:
    return max(1, int(ray.cluster_resources().get("CPU", 1)))
