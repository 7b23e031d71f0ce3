"""`/cache`: how often it answered, and emptying it."""

from __future__ import annotations

import pytest

from tests.api.conftest import Running
from tests.api.test_errors import is_problem
from tests.api.test_query import MANUAL

pytestmark = pytest.mark.asyncio(loop_scope="package")
CACHE = "/api/v1/cache"
QUESTION = "How much does a berth cost a night?"


async def status_of(own: Running, **fields: object) -> str:
    return str((await own.ask(QUESTION, **fields))["cache"]["status"])


async def test_what_it_answered_is_counted(own: Running) -> None:
    await own.add(MANUAL)
    assert (await own.client.get(f"{CACHE}/stats")).json()["hit_rate"] is None
    seen = [await status_of(own), await status_of(own), await status_of(own), await status_of(own, use_cache=False)]
    assert seen == ["miss", "exact", "exact", "bypass"]
    assert own.services.query_log is not None
    await own.services.query_log.flush()
    stats = (await own.client.get(f"{CACHE}/stats")).json()
    assert stats == {"hours": 24, "questions": 4, "exact": 2, "miss": 1, "bypass": 1, "hit_rate": 0.6667}


async def test_emptied_it_answers_nothing_until_it_is_asked_again(own: Running) -> None:
    await own.add(MANUAL)
    assert [await status_of(own), await status_of(own)] == ["miss", "exact"]
    assert (await own.client.delete(CACHE)).json() == {"collections": 1}
    assert [await status_of(own), await status_of(own)] == ["miss", "exact"]
    assert (await own.client.delete(CACHE, params={"collection": "default"})).json() == {"collections": 1}
    assert await status_of(own) == "miss"
    is_problem(await own.client.delete(CACHE, params={"collection": "none"}), 404, "not_found")


async def test_another_tenants_cache_is_left_alone(own: Running, shared: Running) -> None:
    await own.add(MANUAL)
    assert await status_of(own) == "miss"
    await shared.client.delete(CACHE)
    assert await status_of(own) == "exact"
