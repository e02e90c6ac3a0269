"""What Prometheus is told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from peclip_fast.serve.jobs import Job

Gauges = Callable[[], Iterable[tuple[str, str, float]]]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """Of one server.

    Args:
        gauges: gives a name, a description and a value for each thing that goes up and down.
    """

    def __init__(self, gauges: Gauges) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "peclip_requests", "Answered requests", ["route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "peclip_request_seconds", "From a request to its answer", ["route"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._sizes = Histogram(
            "peclip_batch_clips", "Clips and windows in a batch", buckets=_SIZES,
            registry=self.registry,
        )  # fmt: skip
        self._model = Histogram(
            "peclip_batch_seconds", "The model's time for a batch", buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._ended = Counter("peclip_jobs", "Ended jobs", ["state"], registry=self.registry)
        self.registry.register(_Gauges(gauges))

    def request(self, route: str, status: int, seconds: float) -> None:
        """One more."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, size: int, seconds: float) -> None:
        """One more."""
        self._sizes.observe(size)
        self._model.observe(seconds)

    def ended(self, job: Job) -> None:
        """One more."""
        self._ended.labels(job.state).inc()

    def text(self) -> bytes:
        """As Prometheus reads it."""
        return generate_latest(self.registry)


class _Gauges(Collector):
    """What is looked at when somebody asks."""

    def __init__(self, gauges: Gauges) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        for name, text, value in self._gauges():
            yield GaugeMetricFamily(name, text, value)

    def describe(self) -> Iterator[Metric]:
        """Names are known only when they are asked for."""
        return iter(())
