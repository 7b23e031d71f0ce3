"""Metrics as Prometheus reads them, summed over gunicorn's workers when ``PROMETHEUS_MULTIPROC_DIR`` is set.

The form is the one that the scraper asks for: Prometheus's text, or OpenMetrics, which also carries exemplars.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from app.telemetry.metrics import IDLE, IN_USE, OPEN, Metrics

REQUEST_SECONDS = "http_request_duration_seconds"


def render(metrics: Metrics, read: Sequence[Metric] = (), accept: str = "") -> tuple[bytes, str]:
    """All that was counted, and what was ``read`` for this scrape; with its content type."""
    encode, content_type = choose_encoder(accept)
    return encode(_Everything(metrics, read)), content_type


class _Everything(Collector):
    def __init__(self, metrics: Metrics, read: Sequence[Metric]) -> None:
        self._metrics = metrics
        self._read = read

    def collect(self) -> Iterator[Metric]:
        for metric in _counted(self._metrics):
            if metric.name == REQUEST_SECONDS:
                yield self._metrics.exemplars.attach(metric, ("method", "route"))
            elif metric.name == f"{self._metrics.namespace}_database_pool_connections":
                yield _with_idle(metric)
            else:
                yield metric
        yield from self._read


def _with_idle(metric: Metric) -> Metric:
    values = {sample.labels["state"]: sample.value for sample in metric.samples}
    idle = values.get(OPEN, 0) - values.get(IN_USE, 0)
    found = GaugeMetricFamily(metric.name, metric.documentation, labels=["state"])
    found.add_metric([IN_USE], values.get(IN_USE, 0))
    found.add_metric([IDLE], idle)
    return found


def _counted(metrics: Metrics) -> Iterable[Metric]:
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        return metrics.registry.collect()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return registry.collect()
