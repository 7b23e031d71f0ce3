"""Streams that can be taken up again: in the process that writes, from another one, and after the end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID, uuid4

import pytest

from app.answer import streams as module
from app.answer.streams import StreamEvent, Streams, StreamStoppedError
from app.cache.store import MemoryStore
from app.errors import NotFoundError, ProviderError

TENANT = uuid4()


class Words:
    """Tells words until it is let go on to its end; knows whether it was stopped."""

    def __init__(self, count: int, pause_s: float = 0.0) -> None:
        self.count = count
        self.pause_s = pause_s
        self.go_on = asyncio.Event()
        self.stopped = False

    async def tell(self) -> AsyncGenerator[tuple[str, Any], None]:
        try:
            for number in range(self.count):
                yield "delta", {"text": f"w{number} "}
                await asyncio.sleep(self.pause_s)
            await self.go_on.wait()
            yield "done", {"answer": "all"}
        except (GeneratorExit, asyncio.CancelledError):
            self.stopped = True
            raise


def failed(error: Exception) -> tuple[str, Any]:
    return "error", {"kind": type(error).__name__}


def names(events: list[StreamEvent]) -> list[str]:
    return [event.name for event in events]


async def read(streams: Streams, after: int = 0, tenant: UUID = TENANT) -> list[StreamEvent] | None:
    events = await streams.resume(tenant, "r", after, failed)
    return None if events is None else [event async for event in events]


async def test_everybody_who_follows_reads_all_of_it_in_order() -> None:
    streams, words = Streams(MemoryStore(1000), 1.0, 60), Words(3)
    stream = streams.start(TENANT, "r", words.tell(), failed)
    await stream.started()
    early = asyncio.create_task(_all(stream.follow(0)))
    late = asyncio.create_task(read(streams, after=2))
    await asyncio.sleep(0.02)
    words.go_on.set()
    assert [(event.number, event.name) for event in await early] == [
        (1, "delta"),
        (2, "delta"),
        (3, "delta"),
        (4, "done"),
    ]
    assert [event.number for event in await late or []] == [3, 4]


async def test_after_its_end_a_stream_is_read_from_the_store_and_is_its_tenants_alone() -> None:
    store, words = MemoryStore(1000), Words(2)
    streams = Streams(store, 1.0, 60)
    words.go_on.set()
    stream = streams.start(TENANT, "r", words.tell(), failed)
    whole = await _all(stream.follow(0))
    await streams.close()
    other = Streams(store, 1.0, 60)
    assert await read(other) == whole
    assert await read(other, after=1) == whole[1:]
    assert await read(other, after=3) is None
    with pytest.raises(NotFoundError):
        await read(other, tenant=uuid4())


async def test_another_worker_follows_while_it_is_written_and_keeps_it_going() -> None:
    store, words = MemoryStore(1000), Words(12, pause_s=0.1)
    here, elsewhere = Streams(store, 0.3, 60), Streams(store, 0.3, 60)
    stream = here.start(TENANT, "r", words.tell(), failed)
    await stream.started()
    words.go_on.set()
    # The first reader is gone; only the other worker's keeps the answer from being stopped.
    found = await read(elsewhere)
    assert names(found or [])[-1] == "done"
    assert len(found or []) == 13
    assert not words.stopped


async def test_what_nobody_reads_is_stopped_after_its_grace_and_says_so() -> None:
    store, words = MemoryStore(1000), Words(2)
    streams = Streams(store, 0.2, 60)
    stream = streams.start(TENANT, "r", words.tell(), failed)
    await stream.started()
    follower = stream.follow(0)
    await anext(follower)
    await follower.aclose()
    await asyncio.sleep(0.1)
    assert not words.stopped
    await asyncio.sleep(0.3)
    assert words.stopped
    told = await read(streams)
    assert names(told or []) == ["delta", "delta", "error"]
    assert json.loads((told or [])[-1].data) == {"kind": "StreamStoppedError"}


async def test_who_comes_back_in_time_gets_the_rest() -> None:
    streams, words = Streams(MemoryStore(1000), 0.3, 60), Words(2)
    stream = streams.start(TENANT, "r", words.tell(), failed)
    await stream.started()
    for _ in range(3):
        follower = stream.follow(0)
        await anext(follower)
        await follower.aclose()
        await asyncio.sleep(0.15)
    back = asyncio.create_task(read(streams, after=1))
    await asyncio.sleep(0.4)
    words.go_on.set()
    assert names(await back or []) == ["delta", "done"]
    assert not words.stopped


async def test_what_fails_at_once_raises_and_what_fails_later_is_the_last_event() -> None:
    async def broken(after: int) -> AsyncGenerator[tuple[str, Any], None]:
        for _ in range(after):
            yield "delta", {"text": "x"}
        raise ProviderError("p", "away")

    streams = Streams(MemoryStore(1000), 1.0, 60)
    with pytest.raises(ProviderError):
        await streams.start(TENANT, "r", broken(0), failed).started()
    stream = streams.start(TENANT, "r", broken(1), failed)
    await stream.started()
    assert names(await _all(stream.follow(0))) == ["delta", "error"]


async def test_a_worker_that_died_ends_its_streams_for_those_who_follow_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "MARK_TTL_SECONDS", 1)
    monkeypatch.setattr(module, "MARK_SECONDS", 0.2)
    store, words = MemoryStore(1000), Words(2)
    here = Streams(store, 5.0, 60)
    stream = here.start(TENANT, "r", words.tell(), failed)
    await stream.started()
    await asyncio.sleep(0.05)
    for task in list(here._tasks):
        task.cancel()
    told = await asyncio.wait_for(read(Streams(store, 5.0, 60)), 5)
    assert names(told or []) == ["delta", "delta", "error"]


async def test_a_request_id_that_is_used_again_does_not_mix_two_streams() -> None:
    store = MemoryStore(1000)
    streams = Streams(store, 1.0, 60)
    for count in (5, 1):
        words = Words(count)
        words.go_on.set()
        await _all(streams.start(TENANT, "r", words.tell(), failed).follow(0))
        await streams.close()
    assert names(await read(Streams(store, 1.0, 60)) or []) == ["delta", "done"]


async def test_a_store_that_keeps_nothing_harms_no_reader() -> None:
    streams, words = Streams(MemoryStore(0), 1.0, 60), Words(3)
    words.go_on.set()
    assert len(await _all(streams.start(TENANT, "r", words.tell(), failed).follow(0))) == 4


def test_its_error_says_the_cure() -> None:
    assert StreamStoppedError("x").code == "stream_stopped"


async def _all(events: AsyncGenerator[StreamEvent, None]) -> list[StreamEvent]:
    return [event async for event in events]
