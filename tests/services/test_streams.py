"""Streams across workers, over a real Redis."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from app.answer.streams import StreamEvent, Streams
from app.backends import STREAM_TIMEOUT_SECONDS
from app.cache.redis import RedisStore
from app.errors import NotFoundError

from .redis import Redis

pytestmark = pytest.mark.services
WORDS = 20


@pytest.fixture
def redis() -> Iterator[Redis]:
    server = Redis().start()
    yield server
    server.stop()


@pytest_asyncio.fixture
async def workers(redis: Redis) -> AsyncIterator[list[Streams]]:
    stores = [RedisStore(redis.url, None, 5, STREAM_TIMEOUT_SECONDS) for _ in range(2)]
    workers = [Streams(store, 1.0, 60) for store in stores]
    yield workers
    for worker, store in zip(workers, stores, strict=True):
        await worker.close()
        await store.close()


async def words() -> AsyncGenerator[tuple[str, Any], None]:
    for number in range(WORDS):
        yield "delta", {"text": f"wörd {number}"}
        await asyncio.sleep(0.03)
    yield "done", {}


def failed(error: Exception) -> tuple[str, Any]:
    return "error", {"kind": type(error).__name__}


async def rest(streams: Streams, tenant: Any, after: int) -> list[StreamEvent] | None:
    events = await streams.resume(tenant, "r", after, failed)
    return None if events is None else [event async for event in events]


async def test_any_worker_goes_on_where_another_one_writes_and_after_it(workers: list[Streams]) -> None:
    tenant = uuid4()
    stream = workers[0].start(tenant, "r", words(), failed)
    await stream.started()
    here = asyncio.create_task(_all(stream.follow(0)))
    await asyncio.sleep(0.2)
    elsewhere = asyncio.create_task(rest(workers[1], tenant, 3))
    whole = await here
    assert [event.number for event in whole] == list(range(1, WORDS + 2))
    assert await elsewhere == whole[3:]
    await workers[0].close()
    assert await rest(workers[1], tenant, WORDS - 1) == whole[WORDS - 1 :]
    assert await rest(workers[1], tenant, WORDS + 1) is None
    with pytest.raises(NotFoundError):
        await rest(workers[1], uuid4(), 0)


async def test_a_redis_that_dies_harms_nobody_who_reads(workers: list[Streams], redis: Redis) -> None:
    stream = workers[0].start(uuid4(), "r", words(), failed)
    await stream.started()
    reader = asyncio.create_task(_all(stream.follow(0)))
    await asyncio.sleep(0.1)
    redis.stop()
    assert len(await asyncio.wait_for(reader, 5)) == WORDS + 1


@pytest.mark.parametrize("fault", ["hangs", "is away"])
async def test_a_redis_that_does_not_answer_for_a_while_loses_no_event(
    workers: list[Streams], redis: Redis, fault: str
) -> None:
    tenant = uuid4()
    (redis.freeze if fault == "hangs" else redis.stop)()
    stream = workers[0].start(tenant, "r", words(), failed)
    await stream.started()
    whole = await _all(stream.follow(0))
    await asyncio.sleep(1.5)
    (redis.thaw if fault == "hangs" else redis.start)()
    assert await _kept(workers[1], tenant) == whole[2:]


async def _kept(streams: Streams, tenant: Any) -> list[StreamEvent] | None:
    """What another worker finds as soon as there is something."""
    for _ in range(100):
        with suppress(NotFoundError):
            return await rest(streams, tenant, 2)
        await asyncio.sleep(0.1)
    raise AssertionError("No event was kept within 10 s")


async def _all(events: AsyncGenerator[StreamEvent, None]) -> list[StreamEvent]:
    return [event async for event in events]
