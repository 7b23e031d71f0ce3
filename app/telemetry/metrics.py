"""What the service counts and measures; ``app.state`` has what is read when it is asked for."""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, cast

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

from app.telemetry.exemplars import Exemplars

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32)
LONG_SECONDS = (0.01, 0.05, 0.25, 1, 4, 16, 60, 240, 960)
# ALLOWED_MODELS=* lets clients name any model; the first so many are told apart.
MAX_MODELS = 50
OTHER = "other"
# What is counted of a pool; OPEN is shown as those that are idle.
IN_USE, OPEN, IDLE = "in_use", "open", "idle"
Instrument = TypeVar("Instrument", Counter, Gauge, Histogram)


class _Off:
    """An instrument of a service whose ENABLE_METRICS is false."""

    def labels(self, *_: object) -> _Off:
        return self

    def inc(self, _: float = 1) -> None:
        pass

    def dec(self, _: float = 1) -> None:
        pass

    def set(self, _: float) -> None:
        pass

    def observe(self, _: float) -> None:
        pass


class Metrics:
    """The service's own instruments; labels are bounded: route templates, never paths."""

    def __init__(self, namespace: str, *, enabled: bool = True) -> None:
        # Each counter would have a second series with the moment of its birth.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.namespace = namespace
        self.enabled = enabled
        self.registry = CollectorRegistry()
        self.exemplars = Exemplars()
        self._models: set[str] = set()
        self._http()
        self._questions()
        self._providers()
        self._documents()
        self._process()

    def model(self, name: str) -> str:
        """A model's name as a label."""
        if name not in self._models:
            if len(self._models) >= MAX_MODELS:
                return OTHER
            self._models.add(name)
        return name

    def _http(self) -> None:
        self.requests = self._make(Counter, "http_requests_total", "HTTP requests", "method", "route", "status", own="")
        self.request_seconds = self._make(
            Histogram,
            "http_request_duration_seconds",
            "Time to the end of the response",
            "method",
            "route",
            own="",
            buckets=SECONDS,
        )
        self.errors = self._make(
            Counter, "errors_total", "Requests and jobs that failed, by the stable code of the error", "kind"
        )

    def _questions(self) -> None:
        self.queries = self._make(Counter, "queries_total", "Questions answered", "provider", "cache", "grounded")
        self.abstentions = self._make(Counter, "abstentions_total", "Questions that the documents hold no answer to")
        self.step_seconds = self._make(
            Histogram, "query_step_duration_seconds", "Time of one step of a question", "step", buckets=SECONDS
        )
        self.embedding_seconds = self._make(
            Histogram, "embedding_duration_seconds", "Time of one call for vectors", "kind", buckets=SECONDS
        )
        self.feedback = self._make(Counter, "feedback_total", "Ratings of answers", "rating")

    def _providers(self) -> None:
        self.provider_requests = self._make(
            Counter,
            "provider_requests_total",
            "Requests to model providers: answered, failed, rejected (the request's fault), abandoned, refused (left "
            "alone after failures)",
            "provider",
            "outcome",
        )
        self.first_token_seconds = self._make(
            Histogram,
            "provider_first_token_seconds",
            "Time from the request to the first word of the answer",
            "provider",
            buckets=SECONDS,
        )
        self.provider_circuit = self._make(
            Gauge,
            "provider_circuit_state",
            "0 asked as usual, 1 on trial, 2 left alone after failures",
            "provider",
            multiprocess_mode="livemax",
        )
        self.tokens = self._make(Counter, "tokens_total", "Tokens that providers counted", "provider", "model", "kind")
        self.cost_usd = self._make(
            Counter,
            "cost_usd_total",
            "What those tokens cost by the price table, in US dollars",
            "provider",
            "model",
        )
        self.unpriced_answers = self._make(
            Counter,
            "unpriced_answers_total",
            "Answers of models that the price table does not have: their cost is missing above",
            "provider",
            "model",
        )

    def _documents(self) -> None:
        self.documents = self._make(Counter, "documents_accepted_total", "Documents accepted")
        self.jobs_finished = self._make(
            Counter,
            "jobs_finished_total",
            "Turns of jobs that ended: succeeded, failed (for good), cancelled, postponed (tried again later)",
            "outcome",
        )
        self.ingestion_step_seconds = self._make(
            Histogram,
            "ingestion_step_duration_seconds",
            "Time of one step of a document",
            "step",
            buckets=LONG_SECONDS,
        )

    def _process(self) -> None:
        self.database_connections = self._make(
            Gauge,
            "database_pool_connections",
            "Connections to the database that are open: in_use or idle",
            "state",
            multiprocess_mode="livesum",
        )
        self.database_pool_size = self._make(
            Gauge,
            "database_pool_size",
            "Connections to the database that all processes together may open",
            multiprocess_mode="livesum",
        )
        self.traces = self._make(
            Counter, "traces_total", "Traces that were chosen: exported, or lost because they could not be", "outcome"
        )

    def _make(
        self, kind: type[Instrument], name: str, help_: str, *labels: str, own: str | None = None, **options: Any
    ) -> Instrument:
        if not self.enabled:
            return cast(Instrument, _Off())
        namespace = self.namespace if own is None else own
        made = kind(name, help_, labels, namespace=namespace, registry=self.registry, **options)
        # Looked up many times a question; the library's own look-up takes as long as what it then counts.
        made.labels = cache(made.labels)  # type: ignore[method-assign]
        return made
