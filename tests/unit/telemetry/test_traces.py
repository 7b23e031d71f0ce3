"""Which traces are kept, and that sending them holds up nobody."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from uuid import uuid4

import pytest

from app.errors import DependencyUnavailableError, NotFoundError
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.otlp import MAX_WAITING, OtlpExporter, open_tracer
from app.telemetry.traces import MAX_SPANS, Kind, Origin, Step, Trace, Tracer, span, traceparent
from tests.unit.telemetry.collector import Collector, collecting

IDS = [uuid4().hex for _ in range(400)]


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


def kept(ids: list[str], ratio: float, slow_s: float = 60.0, error: Exception | None = None) -> set[str]:
    """Which of these traces, each with one step within, a process keeps."""
    found: list[Trace] = []
    tracer = Tracer(ratio, slow_s, found.append)
    for trace_id in ids:
        with tracer.begin("root", Origin(trace_id), Kind.SERVER):
            try:
                with span("step"):
                    if error is not None:
                        raise error
            except Exception as raised:
                if raised is not error:
                    raise
    return {trace.trace_id for trace in found}


def test_a_share_is_kept_and_every_process_keeps_the_same() -> None:
    half = kept(IDS, 0.5)
    assert 140 < len(half) < 260
    assert kept(IDS, 0.5) == half
    assert kept(IDS, 0.2) < half
    assert kept(IDS, 0.0) == set()
    assert kept(IDS, 1.0) == set(IDS)


@pytest.mark.parametrize(
    ("error", "all_of_them"),
    [(ZeroDivisionError(), True), (DependencyUnavailableError("qdrant", "away"), True), (NotFoundError("none"), False)],
)
def test_a_fault_of_the_service_is_always_kept_a_wrong_request_is_not(error: Exception, all_of_them: bool) -> None:
    assert kept(IDS[:20], 0.0, error=error) == (set(IDS[:20]) if all_of_them else set())


def test_what_was_slow_is_always_kept() -> None:
    assert kept(IDS[:3], 0.0, slow_s=1e-9) == set(IDS[:3])


@pytest.mark.parametrize(
    ("header", "request_id", "expected"),
    [
        ("00-" + "a" * 32 + "-" + "b" * 16 + "-01", "c" * 32, Origin("a" * 32, "b" * 16)),
        (None, "c" * 32, Origin("c" * 32)),
        ("00-" + "0" * 32 + "-" + "b" * 16 + "-01", "c" * 32, Origin("c" * 32)),
        ("garbage", "c" * 32, Origin("c" * 32)),
    ],
)
def test_a_trace_begins_where_the_caller_says_or_at_the_requests_id(
    header: str | None, request_id: str, expected: Origin
) -> None:
    assert Origin.read(header, request_id) == expected


def test_another_form_of_id_gets_a_trace_of_its_own() -> None:
    assert Origin.read(None, "order-17").trace_id != Origin.read(None, "order-17").trace_id


async def test_a_trace_is_over_when_its_last_step_is_and_steps_know_their_parents() -> None:
    found: list[Trace] = []
    tracer = Tracer(1.0, 60.0, found.append)
    timings: dict[str, float] = {}

    async def afterwards() -> None:
        with Step("late", timings):
            await asyncio.sleep(0.05)

    with tracer.begin("root", Origin("a" * 32), Kind.SERVER):
        with Step("early", timings):
            assert (traceparent() or "").startswith("00-" + "a" * 32)
        task = asyncio.create_task(afterwards())
        await asyncio.sleep(0.01)
    assert traceparent() is None
    assert found == []
    await task
    spans = {item.name: item for item in found[0].spans}
    assert spans["early"].parent_id == spans["late"].parent_id == spans["root"].span_id
    assert timings["late"] >= 50
    assert set(timings) == {"early", "late"}


def test_a_trace_of_very_many_steps_keeps_the_first_and_counts_the_others() -> None:
    found: list[Trace] = []
    with Tracer(1.0, 60.0, found.append).begin("root", Origin("a" * 32), Kind.CONSUMER):
        for _ in range(MAX_SPANS + 7):
            with span("step"):
                pass
    assert (len(found[0].spans), found[0].dropped) == (MAX_SPANS + 1, 7)


def test_they_arrive_whole(collector: Collector) -> None:
    metrics = Metrics("test")
    opened = open_tracer(
        Settings(
            otel_exporter_otlp_endpoint=collector.url + "/", otel_exporter_otlp_headers="x-key=one, x-b=two%20words"
        ),
        "web",
        metrics,
    )
    assert opened is not None
    tracer, exporter = opened

    def divide() -> None:
        with tracer.begin("root", Origin("a" * 32, "b" * 16), Kind.SERVER), span("step", Kind.CLIENT) as step:
            step.set({"gen_ai.usage.input_tokens": 3, "nothing": None})
            time.sleep(0.02)
            raise ZeroDivisionError("What the question said")

    with pytest.raises(ZeroDivisionError):
        divide()
    exporter.close()
    spans = {received.name: received for received in collector.spans}
    assert spans["root"].parent_id == "b" * 16
    assert spans["step"].parent_id == spans["root"].span_id
    assert spans["step"].failed
    assert spans["step"].attributes == {"gen_ai.usage.input_tokens": 3, "error.type": "ZeroDivisionError"}
    assert 0.02 <= spans["step"].seconds <= spans["root"].seconds < 1
    assert (collector.headers["x-key"], collector.headers["x-b"]) == ("one", "two words")
    assert b"the question said" not in b"".join(collector.raw)
    assert metrics.registry.get_sample_value("test_traces_total", {"outcome": "exported"}) == 1


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", None])
def test_a_collector_that_hangs_or_is_away_holds_up_nobody(url: str | None) -> None:
    with collecting(pause_s=60.0) as hanging:
        metrics = Metrics("test")
        exporter = OtlpExporter(Settings(otel_exporter_otlp_endpoint=url or hanging.url), "web", metrics)
        tracer = Tracer(1.0, 60.0, exporter.take)
        start = time.monotonic()
        for trace_id in IDS * ((2 * MAX_WAITING) // len(IDS)):
            with tracer.begin("root", Origin(trace_id), Kind.SERVER):
                pass
        assert time.monotonic() - start < 2
        start = time.monotonic()
        exporter.close()
        assert time.monotonic() - start < 8
        assert (metrics.registry.get_sample_value("test_traces_total", {"outcome": "lost"}) or 0) > 0


def test_none_is_recorded_when_no_collector_is_named() -> None:
    assert open_tracer(Settings(), "web", Metrics("test")) is None
    with span("step") as step:
        step.set({"a": 1})
    assert traceparent() is None


def test_what_is_off_is_not_even_loaded() -> None:
    late = ("opentelemetry.sdk", "opentelemetry.exporter", "sentry_sdk")
    program = f"import sys, app.main; print([name for name in sys.modules if name.startswith({late})])"
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
    loaded = subprocess.check_output([sys.executable, "-c", program], env=environment, text=True)
    assert loaded.strip() == "[]"
