"""Prometheus metrics: in seconds and bytes, as its conventions ask, with labels of few values, none of them from a client."""

import os
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import prometheus_client as prometheus
from prometheus_client import Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

from service.errors import RequestError

SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
TENTHS = tuple(tenth / 10 for tenth in range(1, 11))

OUTCOMES = {408: "slow", 429: "overloaded", 503: "unready", 504: "late"}


def outcome(status: int) -> str:
    """The label `outcome` of a request or an image, by the status of its answer. Status 0 means that the client left."""
    if not status:
        return "left"
    return OUTCOMES.get(status, "answered" if status < 400 else "refused" if status < 500 else "failed")


class Metrics:
    """The metrics of a service and, on Linux, of its processes (memory, CPU time, descriptors). Several processes write a file
    each in `folder`, and the one that is asked adds all up. Files are named by `slot`, which each process sets, so that the
    successor of a process goes on where that one ended."""

    slot = "loading"
    folder: Path | None = None

    def __init__(self, processes: int = 1) -> None:
        # Else each series gets a second one, with the time at which it was created.
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = self._answer = prometheus.CollectorRegistry()
        self._gauges: dict[Gauge, Callable[[], float]] = {}
        self._process: _Process | None = None
        if processes > 1:
            self._share()
        else:
            prometheus.ProcessCollector(registry=self._registry)
        self.requests = cache(self._counter("requests", "Requests answered, or left by clients", "route", "outcome").labels)
        answered = "From a request's head to its answer, or to its client's leaving"
        self.request_seconds = cache(self._histogram("request_seconds", answered, SECONDS, "route").labels)
        self.images = cache(self._counter("images", "Images answered or refused, each of a batch", "outcome").labels)
        self.decode_seconds = self._histogram("decode_seconds", "Decoding of an image, and its wait for a thread", SECONDS)
        self.queue_wait_seconds = self._histogram("queue_wait_seconds", "From an image's decoding to its run", SECONDS)
        self.inference_seconds = self._histogram("inference_seconds", "One run, of a whole batch", SECONDS)
        self.batch_size = self._histogram("batch_size", "Images of one run", BATCH_SIZES)
        self.predictions = cache(self._counter("predictions", "Predictions", "label", "novelty").labels)
        self.abstentions = cache(self._counter("abstentions", "Predictions not to be used, by each reason", "reason").labels)
        probability = "Of the positive label: where this drifts, so do the images"
        self.positive_probability = self._histogram("positive_probability", probability, TENTHS)

    def read(self) -> bytes:
        """All metrics in Prometheus's text format. Gauges of other processes are as old as their last `refresh`."""
        self.refresh()
        return prometheus.generate_latest(self._answer)

    def refresh(self) -> None:
        for gauge, value in self._gauges.items():
            gauge.set(value())
        if self._process:
            self._process.refresh()

    def begin_sharing(self) -> None:
        """To be called before the processes are forked: what this one wrote would be counted as one more process."""
        for path in self.folder.glob(f"*_{self.slot}.db") if self.folder else ():
            path.unlink()

    def gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """`value` is called at each `refresh`."""
        gauge = Gauge(f"medxfer_{name}", what, registry=self._registry, multiprocess_mode="livesum")
        self._gauges[gauge] = value

    def model(self, **facts: str) -> None:
        what = "The model that answers"
        gauge = Gauge("medxfer_model_info", what, list(facts), registry=self._registry, multiprocess_mode="max")
        self._gauges[gauge.labels(**facts)] = lambda: 1

    def count_failure(self, error: Exception) -> None:
        """Counts an image that was not predicted. A cancelled image is not counted."""
        self.images(outcome(error.status if isinstance(error, RequestError) else 500)).inc()

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"medxfer_{name}", what, labels, registry=self._registry)

    def _histogram(self, name: str, what: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"medxfer_{name}", what, labels, buckets=buckets, registry=self._registry)

    def _share(self) -> None:
        memory = "/dev/shm"  # there in containers, too, whose own file system may be read-only
        self.folder = Path(tempfile.mkdtemp(prefix="medxfer-metrics-", dir=memory if os.access(memory, os.W_OK) else None))
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self.folder)
        values.ValueClass = values.MultiProcessValue(lambda: self.slot)  # type: ignore[no-untyped-call]
        self._answer = prometheus.CollectorRegistry()
        MultiProcessCollector(self._answer, str(self.folder))  # type: ignore[no-untyped-call]
        self._process = _Process(self._registry)


class _Process:
    """What `ProcessCollector` tells about one process, as values that can be added up over several."""

    def __init__(self, registry: prometheus.CollectorRegistry) -> None:
        self._collector = prometheus.ProcessCollector(registry=None)
        self._cpu = Counter("process_cpu_seconds", "Total user and system CPU time spent in seconds.", registry=registry)
        self._cpu_seconds = 0.0
        self._gauges = {
            family.name: Gauge(
                family.name,
                family.documentation,
                registry=registry,
                multiprocess_mode="livemin" if family.name == "process_start_time_seconds" else "livesum",
            )
            for family in self._collector.collect()
            if family.type == "gauge"
        }

    def refresh(self) -> None:
        found = {family.name: family.samples[0].value for family in self._collector.collect()}
        for name in self._gauges.keys() & found.keys():  # a process without a free descriptor cannot read all
            self._gauges[name].set(found[name])
        if (seconds := found.get("process_cpu_seconds", 0.0)) > self._cpu_seconds:
            self._cpu.inc(seconds - self._cpu_seconds)
            self._cpu_seconds = seconds
