"""A real OTLP collector on loopback: it takes what OpenTelemetry's exporter sends, and decodes it."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Received:
    """One span, as it came over the wire; ``service`` is of its resource."""

    name: str
    trace_id: str
    span_id: str
    parent_id: str
    attributes: dict[str, Any]
    failed: bool
    service: str
    seconds: float


@dataclass
class Collector:
    """Listens at ``url``; ``headers`` are of the last request."""

    url: str = ""
    spans: list[Received] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    raw: list[bytes] = field(default_factory=list)
    pause_s: float = 0.0

    def trace(self, trace_id: str, *, until: set[str] = frozenset(), within_s: float = 15.0) -> list[Received]:  # type: ignore[assignment]
        """The spans of one trace, as soon as there are some, with all these names among them."""
        deadline = time.monotonic() + within_s
        while True:
            found = [span for span in self.spans if span.trace_id == trace_id]
            if found and until <= {span.name for span in found}:
                return found
            if time.monotonic() > deadline:
                raise AssertionError(f"no whole trace {trace_id}: {sorted(span.name for span in found)}")
            time.sleep(0.05)


@contextmanager
def collecting(pause_s: float = 0.0) -> Iterator[Collector]:
    """``pause_s``: how long it takes for each request."""
    collector = Collector(pause_s=pause_s)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(collector.pause_s)
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            assert self.path == "/v1/traces"
            assert self.headers["Content-Type"] == "application/x-protobuf"
            collector.headers = {name.lower(): value for name, value in self.headers.items()}
            collector.raw.append(body)
            collector.spans += _decoded(body)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        collector.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield collector
        server.shutdown()


def _decoded(body: bytes) -> list[Received]:
    request = ExportTraceServiceRequest.FromString(body)
    found = []
    for of_resource in request.resource_spans:
        service = _attributes(of_resource.resource.attributes)["service.name"]
        for of_scope in of_resource.scope_spans:
            found += [
                Received(
                    name=span.name,
                    trace_id=span.trace_id.hex(),
                    span_id=span.span_id.hex(),
                    parent_id=span.parent_span_id.hex(),
                    attributes=_attributes(span.attributes),
                    failed=span.status.code == 2,
                    service=service,
                    seconds=(span.end_time_unix_nano - span.start_time_unix_nano) / 1e9,
                )
                for span in of_scope.spans
            ]
    return found


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
