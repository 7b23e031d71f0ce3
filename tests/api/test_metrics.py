"""What the service counts: by route, with labels that no client can multiply."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from app.auth.keys import Scope
from app.db.bootstrap import DEFAULT_TENANT_ID
from app.settings import Settings
from app.telemetry.metrics import MAX_MODELS, Metrics
from tests.api.conftest import Running, started
from tests.api.test_errors import is_problem

ROOT = Path(__file__).resolve().parents[2]


async def test_requests_and_questions_are_counted(running: Running) -> None:
    await running.ask("Anything?")
    text = (await running.stranger.get("/metrics")).text
    assert 'http_requests_total{method="POST",route="/api/v1/query",status="200"} 1.0' in text
    assert 'http_request_duration_seconds_count{method="POST",route="/api/v1/query"} 1.0' in text
    assert 'anchorage_queries_total{cache="miss",grounded="false",provider="extractive"} 1.0' in text
    assert 'anchorage_query_step_duration_seconds_count{step="search"} 1.0' in text


async def test_a_scrape_leaves_no_connection_behind(running: Running) -> None:
    """The change of secrets waits until nobody is connected to a colour; Prometheus would be, always."""
    assert (await running.stranger.get("/metrics")).headers["connection"] == "close"


async def test_a_question_is_measured_without_what_a_model_writes(running: Running) -> None:
    """The promise is about that, and its alerts and dashboards read it."""
    await running.add("A crane at the pier lifts seven tons.")
    answer = await running.ask("What does a crane at the pier lift?")
    text = (await running.stranger.get("/metrics")).text
    found = re.search(
        r'^anchorage_query_step_duration_seconds_sum\{step="without_generation"\} (\S+)$', text, re.MULTILINE
    )
    assert found
    took = answer["timings_ms"]
    assert float(found[1]) * 1000 == pytest.approx(took["total"] - took["generate"], abs=0.1)


async def test_no_client_can_make_labels(running: Running) -> None:
    for number in range(3):
        await running.client.get(f"/api/v1/documents/{uuid4()}")
        await running.client.get(f"/api/v1/documents/{number}")
        await running.client.get(f"/no/such/{number}")
        await running.client.get(f"/v1/models/x{number}")
        await running.client.get(f"/docs/x{number}")
        await running.client.get(f"/sessions/{uuid4()}")
        await running.client.get(f"/api/v1/query/x{number}/events")
        await running.client.request(f"METHOD{number}", "/health")
    counted = {
        line.partition("{")[2].rpartition("} ")[0]: float(line.rpartition(" ")[2])
        for line in (await running.stranger.get("/metrics")).text.splitlines()
        if line.startswith("http_requests_total{")
    }
    assert counted == {
        'method="GET",route="/api/v1/documents/{document_id}",status="404"': 3,
        'method="GET",route="/api/v1/documents/{document_id}",status="422"': 3,
        'method="GET",route="unmatched",status="404"': 3,
        'method="GET",route="/v1/models/{model}",status="404"': 3,
        'method="GET",route="/docs/{name}",status="404"': 3,
        'method="GET",route="/sessions/{session_id}",status="404"': 3,
        'method="GET",route="/api/v1/query/{request_id}/events",status="404"': 3,
        'method="other",route="/health",status="405"': 3,
    }


async def test_they_are_open_on_the_host_alone_or_with_a_key(running: Running) -> None:
    proxied = {"X-Forwarded-For": "192.0.2.1"}
    is_problem(await running.stranger.get("/metrics", headers=proxied), 401, "authentication_required")
    elsewhere = httpx.ASGITransport(running.app, client=("192.0.2.1", 1))
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://test") as client:
        is_problem(await client.get("/metrics"), 401, "authentication_required")
        for scope, status in ((Scope.QUERY, 403), (Scope.METRICS, 200)):
            key = await running.services.keyring.create(DEFAULT_TENANT_ID, scope, frozenset({scope}))
            assert (await client.get("/metrics", headers={"X-API-Key": key})).status_code == status


async def test_they_can_be_turned_off(settings: Settings) -> None:
    async with started(settings.model_copy(update={"enable_metrics": False})) as running:
        is_problem(await running.client.get("/metrics"), 404, "not_found")


async def test_what_is_read_at_a_scrape_is_the_state_of_the_whole(running: Running) -> None:
    await running.add("# Berths\n\nA berth costs 34 euros a night.")
    await running.ask("How much does a berth cost?", session=True)
    await running.client.get("/api/v1/collections/nope")
    text = (await running.stranger.get("/metrics")).text
    for line in (
        "active_sessions 1.0",
        'anchorage_ingestion_jobs{state="succeeded"} 1.0',
        "anchorage_queue_oldest_seconds 0.0",
        "anchorage_dead_letters 0.0",
        'anchorage_jobs_finished_total{outcome="succeeded"} 1.0',
        'anchorage_errors_total{kind="not_found"} 1.0',
        'anchorage_dependency_up{dependency="postgres"} 1.0',
        'anchorage_embedding_duration_seconds_count{kind="query"} 1.0',
    ):
        assert line in text.splitlines(), line


async def test_every_metric_is_in_the_docs(running: Running) -> None:
    text = (await running.stranger.get("/metrics")).text
    names = {line.split()[2].removeprefix("anchorage_") for line in text.splitlines() if line.startswith("# TYPE")}
    told = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs/watching.md").read_text()))
    assert len(names) > 25
    assert names - told == set()


async def test_clients_that_name_any_model_make_no_endless_labels() -> None:
    metrics = Metrics("test")
    assert len({metrics.model(f"model-{number}") for number in range(500)}) == MAX_MODELS + 1
    assert metrics.model("model-0") == "model-0"
