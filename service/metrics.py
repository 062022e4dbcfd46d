"""Prometheus metrics: in seconds and bytes, as its conventions ask, with labels of few values, none of them from a client."""

from collections.abc import Callable, Sequence

import prometheus_client as prometheus
from prometheus_client import Counter, Histogram

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
    """The metrics of one service and, on Linux, of its process (memory, CPU time, descriptors)."""

    def __init__(self) -> None:
        # Else each series gets a second one, with the time at which it was created.
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = prometheus.CollectorRegistry()
        prometheus.ProcessCollector(registry=self._registry)
        self.requests = self._counter("requests", "Requests answered, or left by their clients", "route", "outcome")
        answered = "From a request's head to its answer, or to its client's leaving"
        self.request_seconds = self._histogram("request_seconds", answered, SECONDS, "route")
        self.images = self._counter("images", "Images answered or refused, each of a batch by itself", "outcome")
        self.decode_seconds = self._histogram("decode_seconds", "Decoding of an image, and its wait for a thread", SECONDS)
        self.queue_wait_seconds = self._histogram("queue_wait_seconds", "From an image's decoding to its run", SECONDS)
        self.inference_seconds = self._histogram("inference_seconds", "One run, of a whole batch", SECONDS)
        self.batch_size = self._histogram("batch_size", "Images of one run", BATCH_SIZES)
        self.predictions = self._counter("predictions", "Predictions", "label", "novelty")
        self.abstentions = self._counter("abstentions", "Predictions that should not be used, by each reason", "reason")
        probability = "Of the positive label: where this drifts, so do the images"
        self.positive_probability = self._histogram("positive_probability", probability, TENTHS)

    def read(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return prometheus.generate_latest(self._registry)

    def gauge(self, name: str, what: str, value: Callable[[], float]) -> None:
        """`value` is called each time Prometheus reads."""
        prometheus.Gauge(f"medxfer_{name}", what, registry=self._registry).set_function(value)

    def model(self, **facts: str) -> None:
        prometheus.Info("medxfer_model", "The model that answers", registry=self._registry).info(facts)

    def count_failure(self, error: Exception) -> None:
        """Counts an image that was not predicted. A cancelled image is not counted."""
        self.images.labels(outcome(error.status if isinstance(error, RequestError) else 500)).inc()

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"medxfer_{name}", what, labels, registry=self._registry)

    def _histogram(self, name: str, what: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(f"medxfer_{name}", what, labels, buckets=buckets, registry=self._registry)
