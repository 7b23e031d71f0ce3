"""Sends chosen traces to ``OTEL_EXPORTER_OTLP_ENDPOINT`` by OTLP over HTTP, from a thread of its own.

OpenTelemetry's SDK is loaded when the first trace is sent. Nothing here blocks or fails a request: what the collector
does not take in time is lost, and counted.
"""

from __future__ import annotations

import queue
import threading
import time

import structlog

from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.traces import Trace, Tracer

log = structlog.get_logger(__name__)
# Traces that wait to be sent.
MAX_WAITING = 1_000
MAX_BATCH = 50
BATCH_SECONDS = 1.0
# How long a service that ends waits for its last traces.
CLOSE_SECONDS = 3.0


class OtlpExporter:
    """Takes traces, and sends them in batches."""

    def __init__(self, settings: Settings, component: str, metrics: Metrics) -> None:
        """``component`` tells the processes of one service apart: web, worker."""
        self._settings = settings
        self._component = component
        self._exported = metrics.traces.labels("exported")
        self._lost = metrics.traces.labels("lost")
        self._waiting: queue.Queue[Trace | None] = queue.Queue(MAX_WAITING)
        self._thread: threading.Thread | None = None
        self._failing = False

    def take(self, trace: Trace) -> None:
        """Send it some time."""
        if self._thread is None:
            # Not before: gunicorn's workers are forked, and threads would not come along.
            self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
            self._thread.start()
        try:
            self._waiting.put_nowait(trace)
        except queue.Full:
            self._lost.inc()

    def close(self) -> None:
        """Send what waits, for a few seconds at most."""
        if self._thread is None:
            return
        try:
            self._waiting.put(None, timeout=CLOSE_SECONDS)
        except queue.Full:
            return
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        from app.telemetry.otlp_spans import Sender

        sender = Sender(self._settings, self._component)
        over = False
        while not over:
            batch, over = self._batch()
            if not batch:
                continue
            sent = sender.send(batch)
            (self._exported if sent else self._lost).inc(len(batch))
            if sent == self._failing:
                # Once, not for every batch of an outage.
                self._failing = not sent
                log.warning("traces.not_sent") if self._failing else log.info("traces.sent_again")
        sender.close()

    def _batch(self) -> tuple[list[Trace], bool]:
        """The next traces, and whether they are the last."""
        batch: list[Trace] = []
        first = self._waiting.get()
        if first is None:
            return batch, True
        batch.append(first)
        deadline = time.monotonic() + BATCH_SECONDS
        while len(batch) < MAX_BATCH:
            try:
                following = self._waiting.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if following is None:
                return batch, True
            batch.append(following)
        return batch, False


def open_tracer(settings: Settings, component: str, metrics: Metrics) -> tuple[Tracer, OtlpExporter] | None:
    """None when no collector is named."""
    if not settings.otel_exporter_otlp_endpoint:
        return None
    exporter = OtlpExporter(settings, component, metrics)
    return Tracer(settings.traces_sample_ratio, settings.traces_slow_s, exporter.take), exporter
