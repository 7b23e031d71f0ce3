"""What the service counts: by route, with labels that no client can multiply."""

from __future__ import annotations

from uuid import uuid4

import httpx

from app.auth.keys import Scope
from app.db.bootstrap import DEFAULT_TENANT_ID
from app.settings import Settings
from tests.api.conftest import Running, started
from tests.api.test_errors import is_problem


async def test_requests_and_questions_are_counted(running: Running) -> None:
    await running.ask("Anything?")
    text = (await running.stranger.get("/metrics")).text
    assert 'http_requests_total{method="POST",route="/api/v1/query",status="200"} 1.0' in text
    assert 'http_request_duration_seconds_count{method="POST",route="/api/v1/query"} 1.0' in text
    assert 'anchorage_queries_total{cache="miss",grounded="false",provider="extractive"} 1.0' in text
    assert 'anchorage_query_step_duration_seconds_count{step="search"} 1.0' in text


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
