"""A question's path as a collector sees it, and what an unexpected failure reports."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import pytest
import structlog

from app.retrieval.search import Retriever
from app.settings import Settings
from app.telemetry.logs import configure_logs
from tests.api.conftest import Running, started
from tests.api.test_query import MANUAL
from tests.api.upstream import slow_model
from tests.unit.telemetry.collector import Collector, Received, collecting

BERTH = "How much does a berth cost a night?"
ROUTE = "POST /api/v1/query"


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


async def asked(running: Running, collector: Collector, **fields: Any) -> dict[str, Received]:
    """The spans of a question, by name."""
    trace_id = uuid4().hex
    headers = {"X-Request-ID": trace_id}
    await running.client.post("/api/v1/query", json={"query": BERTH, **fields}, headers=headers)
    return {span.name: span for span in collector.trace(trace_id, until={ROUTE})}


async def test_each_step_of_a_question_is_a_span_and_so_is_the_call_of_the_provider(
    settings: Settings, collector: Collector
) -> None:
    watched = {"otel_exporter_otlp_endpoint": collector.url, "traces_sample_ratio": 1.0}
    words = ["A berth ", "costs 34 euros ", "a night [1]."]
    async with slow_model(words, 0.02, usage=(120, 9)) as model:
        remote = {"openai_base_url": model.url, "openai_api_key": "sk-none", "openai_model": "harbour-1"}
        async with started(Settings(**settings.model_dump() | watched | remote)) as running:
            await running.add(MANUAL, "Harbour")
            spans = await asked(running, collector)
            again = await asked(running, collector)
            streamed = await asked(running, collector, stream=True, use_cache=False)
    steps = {"authenticate", "open", "cache", "embed", "search", "read", "generate", "cite", "store"}
    assert steps <= set(spans)
    assert {spans[step].parent_id for step in steps} == {spans[ROUTE].span_id}
    assert set(again) == {ROUTE, "authenticate", "open", "cache"}
    assert {"generate", "chat harbour-1"} <= set(streamed)
    call = spans["chat harbour-1"]
    assert call.parent_id == spans["generate"].span_id
    assert call.attributes["gen_ai.operation.name"] == "chat"
    assert call.attributes["gen_ai.provider.name"] == "openai"
    assert call.attributes["gen_ai.usage.input_tokens"] == 120
    assert call.attributes["gen_ai.usage.output_tokens"] == 9
    assert 0 < call.attributes["gen_ai.response.time_to_first_chunk"] < call.seconds
    assert spans["embeddings all-MiniLM-L6-v2"].parent_id == spans["embed"].span_id


async def test_its_text_is_told_only_where_questions_are_logged(settings: Settings, collector: Collector) -> None:
    for logging_on in (False, True):
        watched = {"otel_exporter_otlp_endpoint": collector.url, "traces_sample_ratio": 1.0}
        update = watched | {"enable_query_logging": logging_on, "data_dir": settings.data_dir / str(logging_on)}
        async with started(settings.model_copy(update=update)) as running:
            await asked(running, collector)
        assert (BERTH.encode() in b"".join(collector.raw)) is logging_on


async def test_a_failure_is_kept_where_hardly_any_trace_is(
    settings: Settings, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError(f"dividing {BERTH}")

    watched = {"otel_exporter_otlp_endpoint": collector.url, "traces_sample_ratio": 0.0, "traces_slow_s": 60.0}
    async with started(settings.model_copy(update=watched)) as running:
        await running.ask("What is not kept?")
        monkeypatch.setattr(Retriever, "search", broken)
        spans = await asked(running, collector)
    assert (spans[ROUTE].failed, spans[ROUTE].attributes["http.response.status_code"]) == (True, 500)
    assert spans[ROUTE].attributes["error.type"] == "internal_error"
    assert len({span.trace_id for span in collector.spans}) == 1


@contextmanager
def reporting() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that takes Sentry's envelopes: its DSN, and the events in them."""
    events: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            body = gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body
            _, *items = body.split(b"\n")
            for head, payload in zip(items[::2], items[1::2], strict=False):
                if json.loads(head)["type"] == "event":
                    events.append(json.loads(payload))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://public@127.0.0.1:{server.server_address[1]}/7", events
        server.shutdown()


def _until(there: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not there() and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.fixture
def _logs_put_back() -> Iterator[None]:
    configuration = structlog.get_config()
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    yield
    root.handlers[:], _ = before
    root.setLevel(before[1])
    structlog.configure(**configuration)


@pytest.mark.usefixtures("_logs_put_back")
async def test_an_unexpected_failure_is_reported_without_a_word_of_the_question(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError(f"dividing {BERTH}")

    with reporting() as (dsn, events):
        reported = Settings(**settings.model_dump(exclude={"sentry_dsn"}), sentry_dsn=dsn)
        configure_logs(reported)
        async with started(reported) as running:
            assert (await running.client.get("/no/such/page")).status_code == 404
            monkeypatch.setattr(Retriever, "search", broken)
            response = await running.client.post("/api/v1/query", json={"query": BERTH})
            assert response.status_code == 500
            await asyncio.to_thread(_until, lambda: bool(events))
    (event,) = events
    (exception,) = event["exception"]["values"]
    assert (exception["type"], exception["value"]) == ("ZeroDivisionError", "")
    assert exception["stacktrace"]["frames"][-1]["function"] == "broken"
    assert event["tags"]["request_id"] == response.json()["request_id"]
    assert event["tags"]["event"] == "request.failed"
    said = json.dumps(event)
    assert BERTH not in said
    assert "user" not in event
    assert "request" not in event
