"""Metrics in Prometheus's form, summed over gunicorn's workers when ``PROMETHEUS_MULTIPROC_DIR`` is set."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32)
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """The service's own instruments; labels are bounded: route templates, never paths."""

    def __init__(self, namespace: str) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "http_requests_total", "HTTP requests", ("method", "route", "status"), registry=self.registry
        )
        self.request_seconds = Histogram(
            "http_request_duration_seconds",
            "Time to the end of the response",
            ("method", "route"),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.queries = Counter(
            "queries_total",
            "Questions answered",
            ("provider", "cache", "grounded"),
            namespace=namespace,
            registry=self.registry,
        )
        self.step_seconds = Histogram(
            "query_step_duration_seconds",
            "Time of one step of a question",
            ("step",),
            namespace=namespace,
            buckets=SECONDS,
            registry=self.registry,
        )
        self.provider_requests = Counter(
            "provider_requests_total",
            "Requests to model providers: answered, failed, rejected (the request's fault), abandoned, refused (left "
            "alone after failures)",
            ("provider", "outcome"),
            namespace=namespace,
            registry=self.registry,
        )
        self.first_token_seconds = Histogram(
            "provider_first_token_seconds",
            "Time from the request to the first word of the answer",
            ("provider",),
            namespace=namespace,
            buckets=SECONDS,
            registry=self.registry,
        )
        self.provider_circuit = Gauge(
            "provider_circuit_state",
            "0 asked as usual, 1 on trial, 2 left alone after failures",
            ("provider",),
            namespace=namespace,
            registry=self.registry,
            multiprocess_mode="livemax",
        )
        self.tokens = Counter(
            "tokens_total",
            "Tokens that providers counted",
            ("provider", "model", "kind"),
            namespace=namespace,
            registry=self.registry,
        )
        self.cost_usd = Counter(
            "cost_usd_total",
            "What those tokens cost by the price table, in US dollars",
            ("provider", "model"),
            namespace=namespace,
            registry=self.registry,
        )
        self.unpriced_answers = Counter(
            "unpriced_answers_total",
            "Answers of models that the price table does not have: their cost is missing above",
            ("provider", "model"),
            namespace=namespace,
            registry=self.registry,
        )
        self.documents = Counter(
            "documents_accepted_total", "Documents accepted", namespace=namespace, registry=self.registry
        )
        self.feedback = Counter(
            "feedback_total", "Ratings of answers", ("rating",), namespace=namespace, registry=self.registry
        )

    def render(self) -> bytes:
        """The metrics of all workers of this service."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self.registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
