"""Alive, ready, healthy, measured."""

from __future__ import annotations

import httpx
import pytest

from app.errors import DependencyUnavailableError
from tests.api.conftest import Running
from tests.api.test_errors import is_problem


async def test_health_is_open_and_its_details_need_a_key(running: Running) -> None:
    assert (await running.stranger.get("/health")).json()["status"] == "ok"
    assert (await running.stranger.get("/api/v1/health")).json() == {"status": "alive"}
    assert (await running.stranger.get("/api/v1/ready")).json() == {"status": "ready"}
    is_problem(await running.stranger.get("/health?detailed=true"), 401, "authentication_required")
    details = (await running.client.get("/health?detailed=true")).json()["dependencies"]
    assert {name: item["status"] for name, item in details.items()} == {"postgres": "up", "qdrant": "up", "redis": "up"}


async def test_not_ready_names_the_dependency(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: object) -> None:
        raise DependencyUnavailableError("qdrant", "away")

    monkeypatch.setattr(type(running.services.index), "check", away)
    problem = is_problem(await running.stranger.get("/api/v1/ready"), 503, "dependency_unavailable")
    assert problem["dependency"] == "qdrant"
    assert (await running.stranger.get("/health")).json()["status"] == "unavailable"


async def test_without_the_cache_it_is_degraded_but_ready(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: object) -> None:
        raise OSError

    monkeypatch.setattr(type(running.services.store), "check", away)
    assert (await running.stranger.get("/api/v1/ready")).status_code == 200
    assert (await running.stranger.get("/health")).json()["status"] == "degraded"


async def test_metrics_count_by_route_and_are_closed_to_strangers(running: Running) -> None:
    await running.ask("Anything?")
    text = (await running.stranger.get("/metrics")).text
    assert 'http_requests_total{method="POST",route="/api/v1/query",status="200"} 1.0' in text
    assert 'anchorage_queries_total{cache="miss",grounded="false",provider="extractive"} 1.0' in text
    proxied = await running.stranger.get("/metrics", headers={"X-Forwarded-For": "192.0.2.1"})
    is_problem(proxied, 401, "authentication_required")
    elsewhere = httpx.ASGITransport(running.app, client=("192.0.2.1", 1))
    async with httpx.AsyncClient(transport=elsewhere, base_url="http://test") as client:
        is_problem(await client.get("/metrics"), 401, "authentication_required")
