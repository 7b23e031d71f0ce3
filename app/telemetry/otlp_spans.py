"""Recorded traces as OpenTelemetry's spans. Loaded when the first one is sent: the SDK takes its time."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import version
from urllib.parse import unquote

import structlog
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags

from app.settings import Settings
from app.telemetry.traces import Span, Trace

log = structlog.get_logger(__name__)
_SCOPE = InstrumentationScope("anchorage")
SEND_SECONDS = 10.0


class Sender:
    """OpenTelemetry's own exporter, and the resource that the spans are of."""

    def __init__(self, settings: Settings, component: str) -> None:
        headers = settings.otel_exporter_otlp_headers
        self._exporter = OTLPSpanExporter(
            endpoint=f"{(settings.otel_exporter_otlp_endpoint or '').rstrip('/')}/v1/traces",
            headers=_headers(headers.get_secret_value()) if headers is not None else None,
            timeout=SEND_SECONDS,
            compression=Compression.Gzip,
        )
        self._resource = Resource.create(
            {
                "service.namespace": settings.app_name,
                "service.name": f"{settings.app_name}-{component}",
                "service.version": version("anchorage"),
                "deployment.environment.name": settings.app_env.value,
            }
        )

    def send(self, traces: list[Trace]) -> bool:
        """Whether the collector took them."""
        try:
            spans = [made for trace in traces for made in _spans(trace, self._resource)]
            return self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:
            log.exception("traces.not_made")
            return False

    def close(self) -> None:
        """Disconnect."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


def _headers(text: str) -> dict[str, str]:
    """``name=value,name=value``, percent-encoded, as OpenTelemetry's variable has it."""
    pairs = (item.partition("=") for item in text.split(",") if item.strip())
    return {name.strip(): unquote(value.strip()) for name, _, value in pairs}


def _spans(trace: Trace, resource: Resource) -> Iterator[ReadableSpan]:
    for item in trace.spans:
        if item.local_root and trace.dropped:
            item.attributes["anchorage.spans_dropped"] = trace.dropped
        yield _readable(item, trace, resource)


def _readable(item: Span, trace: Trace, resource: Resource) -> ReadableSpan:
    parent = _context(trace, item.parent_id, remote=item.local_root) if item.parent_id else None
    return ReadableSpan(
        name=item.name,
        context=_context(trace, item.span_id, remote=False),
        parent=parent,
        resource=resource,
        attributes=item.attributes,
        kind=SpanKind[item.kind],
        instrumentation_scope=_SCOPE,
        status=Status(StatusCode.ERROR, item.error) if item.error else Status(StatusCode.UNSET),
        start_time=item.started_ns,
        end_time=item.started_ns + item.nanoseconds,
    )


def _context(trace: Trace, span_id: str, *, remote: bool) -> SpanContext:
    return SpanContext(int(trace.trace_id, 16), int(span_id, 16), remote, TraceFlags(TraceFlags.SAMPLED))
