"""Alive, ready, healthy, measured."""

from __future__ import annotations

import pytest

from app.errors import DependencyUnavailableError
from tests.api.conftest import Running
from tests.api.test_errors import is_problem

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_health_is_open_and_its_details_need_a_key(shared: Running) -> None:
    assert (await shared.stranger.get("/health")).json()["status"] == "ok"
    assert (await shared.stranger.get("/api/v1/health")).json() == {"status": "alive"}
    assert (await shared.stranger.get("/api/v1/ready")).json() == {"status": "ready"}
    is_problem(await shared.stranger.get("/health?detailed=true"), 401, "authentication_required")
    details = (await shared.client.get("/health?detailed=true")).json()["dependencies"]
    assert {name: item["status"] for name, item in details.items()} == {"postgres": "up", "qdrant": "up", "redis": "up"}


async def test_not_ready_names_the_dependency(shared: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: object) -> None:
        raise DependencyUnavailableError("qdrant", "away")

    monkeypatch.setattr(type(shared.services.index), "check", away)
    problem = is_problem(await shared.stranger.get("/api/v1/ready"), 503, "dependency_unavailable")
    assert problem["dependency"] == "qdrant"
    assert (await shared.stranger.get("/health")).json()["status"] == "unavailable"


async def test_without_the_cache_it_is_degraded_but_ready(shared: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(_: object) -> None:
        raise OSError

    monkeypatch.setattr(type(shared.services.store), "check", away)
    assert (await shared.stranger.get("/api/v1/ready")).status_code == 200
    assert (await shared.stranger.get("/health")).json()["status"] == "degraded"
