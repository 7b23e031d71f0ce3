"""Streams of events that can be taken up again, from any worker, without a second generation.

An answer is written by a task of its own; who reads it may come and go. Each event is also kept in the store for some
minutes. When nobody has read for a short while, here or through another worker, the generation is stopped.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from app.cache.store import CacheStore
from app.errors import AnchorageError, ErrorCode, NotFoundError

log = structlog.get_logger(__name__)
# What a worker says of itself and its readers through the store lives a little longer than the pauses between.
MARK_SECONDS = 1.0
MARK_TTL_SECONDS = 5
# A store that restarts or is slow is tried again; then the rest of the stream is not kept.
KEEP_SECONDS = 15.0
POLL_SECONDS = 0.05
CLOSE_SECONDS = 2.0
LAST = frozenset({"done", "error"})


class StreamStoppedError(AnchorageError):
    """The answer was not finished: nobody read it for too long, or its worker ended."""

    code = ErrorCode.STREAM_STOPPED


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """One event, numbered from 1; ``data`` is JSON."""

    number: int
    name: str
    data: str

    @property
    def last(self) -> bool:
        """Whether nothing follows."""
        return self.name in LAST


Told = tuple[str, Any]
Tell = Callable[[Exception], Told]


class Stream:
    """An answer that is being written in this process."""

    def __init__(self, grace_s: float) -> None:
        self.events: list[StreamEvent] = []
        self.finished = False
        self.failure: Exception | None = None
        self._grace_s = grace_s
        self._changed = asyncio.Event()
        # The request that started it counts until it reads.
        self._readers = 1
        self._unread = asyncio.Event()
        self._unread_since = 0.0

    async def started(self) -> None:
        """Return when there is something to read. Raises what kept the answer from beginning."""
        try:
            while not self.events and not self.finished:
                await self._changed.wait()
        finally:
            self._read_no_more()
        if self.failure is not None:
            raise self.failure

    async def follow(self, after: int) -> AsyncGenerator[StreamEvent, None]:
        """The events behind number ``after``, to the last."""
        self._readers += 1
        self._unread.clear()
        try:
            while True:
                while after < len(self.events):
                    yield self.events[after]
                    after += 1
                if self.finished:
                    return
                await self._changed.wait()
        finally:
            self._read_no_more()

    def tell(self, told: Told) -> None:
        """Add an event."""
        name, data = told
        self.events.append(StreamEvent(len(self.events) + 1, name, json.dumps(data, ensure_ascii=False)))
        self._wake()

    def finish(self, failure: Exception | None = None) -> None:
        """Say that nothing follows; ``failure`` is why nothing came at all."""
        self.finished, self.failure = True, failure
        self._wake()

    async def wait(self, seconds: float) -> None:
        """Return when something changed, or after that time."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def left_alone(self, remote: Callable[[], Awaitable[object]]) -> None:
        """Return when nobody has read for the time of grace; ``remote`` says whether somebody does elsewhere."""
        loop = asyncio.get_running_loop()
        while True:
            await self._unread.wait()
            remaining = self._unread_since + self._grace_s - loop.time()
            if remaining > 0:
                await asyncio.sleep(remaining)
            elif await remote():
                self._unread_since = loop.time()
            else:
                return

    def _read_no_more(self) -> None:
        self._readers -= 1
        if self._readers == 0:
            self._unread_since = asyncio.get_running_loop().time()
            self._unread.set()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class Streams:
    """Starts streams, keeps their events, and finds them again by tenant and request."""

    def __init__(self, store: CacheStore, grace_s: float, keep_s: int) -> None:
        self._store = store
        self._grace_s = grace_s
        self._keep_s = keep_s
        self._live: dict[str, Stream] = {}
        self._tasks: dict[asyncio.Task[None], Stream] = {}

    def start(self, tenant_id: UUID, request_id: str, told: AsyncGenerator[Told, None], failed: Tell) -> Stream:
        """Write an answer; ``failed`` words an error that comes when something was told already."""
        stream = Stream(self._grace_s)
        name = _name(tenant_id, request_id)
        self._live[name] = stream
        task = asyncio.create_task(self._run(name, stream, told, failed))
        self._tasks[task] = stream
        task.add_done_callback(self._tasks.pop)
        return stream

    async def resume(
        self, tenant_id: UUID, request_id: str, after: int, failed: Tell
    ) -> AsyncGenerator[StreamEvent, None] | None:
        """The events behind number ``after``; None when that was the last.

        Raises:
            NotFoundError: no such stream of this tenant, or it is too old.
        """
        name = _name(tenant_id, request_id)
        live = self._live.get(name)
        if live is not None:
            ended = live.finished and after >= len(live.events)
            return None if ended else live.follow(after)
        head = await self._store.get(name)
        if head is None:
            raise NotFoundError("There is no such stream, or it is too old. Ask again.")
        key = f"{name}:{head.decode()}"
        before = await self._event(key, after)
        if before is not None and before.last:
            return None
        return self._elsewhere(key, after, failed)

    async def close(self) -> None:
        """Stop all that is being written; what is written already is kept first."""
        tasks = list(self._tasks)
        for task, stream in list(self._tasks.items()):
            if not stream.finished:
                task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=CLOSE_SECONDS)
            await _cancelled(*tasks)

    async def _run(self, name: str, stream: Stream, told: AsyncGenerator[Told, None], failed: Tell) -> None:
        # A client may use a request id again; the events of its streams must not mix.
        key = f"{name}:{secrets.token_hex(4)}"
        writing = asyncio.create_task(_write(stream, told, failed))
        leaving = asyncio.create_task(stream.left_alone(lambda: self._store.get(f"{key}:read")))
        recording = asyncio.create_task(self._record(name, key, stream))
        try:
            await asyncio.wait({writing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not writing.done():
                log.info("stream.left_alone", events=len(stream.events))
                await _cancelled(writing)
                stream.tell(failed(StreamStoppedError("The answer was stopped: nobody read it. Ask again.")))
                stream.finish()
            await recording
        finally:
            if not stream.finished:
                stream.finish()
            await _cancelled(writing, leaving, recording)
            if self._live.get(name) is stream:
                del self._live[name]

    async def _record(self, name: str, key: str, stream: Stream) -> None:
        """Keep the events, beside the stream: a slow store slows no reader."""
        loop = asyncio.get_running_loop()
        marked = -MARK_SECONDS
        async with aclosing(_with_pauses(stream)) as events:
            async for event in events:
                if loop.time() - marked >= MARK_SECONDS:
                    marked = loop.time()
                    await self._store.put(f"{key}:alive", b"1", MARK_TTL_SECONDS)
                if event is None:
                    continue
                kept = {f"{key}:{event.number}": json.dumps([event.name, event.data]).encode()}
                if event.number == 1:
                    kept[name] = key.removeprefix(f"{name}:").encode()
                if not await self._keep(kept):
                    log.warning("stream.not_kept", number=event.number)
                    return

    async def _keep(self, entries: dict[str, bytes]) -> bool:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + KEEP_SECONDS
        for key, value in entries.items():
            while not await self._store.put(key, value, self._keep_s):
                if loop.time() >= deadline:
                    return False
                await asyncio.sleep(MARK_SECONDS)
        return True

    async def _elsewhere(self, key: str, after: int, failed: Tell) -> AsyncGenerator[StreamEvent, None]:
        """Follow a stream that another worker writes, or wrote, by what it keeps."""
        loop = asyncio.get_running_loop()
        marked, seen_alive = -MARK_SECONDS, loop.time()
        while True:
            event = await self._event(key, after + 1)
            if event is not None:
                yield event
                if event.last:
                    return
                after += 1
                continue
            if loop.time() - marked >= MARK_SECONDS:
                marked = loop.time()
                await self._store.put(f"{key}:read", b"1", MARK_TTL_SECONDS)
                if await self._store.get(f"{key}:alive") is not None:
                    seen_alive = loop.time()
            if loop.time() - seen_alive > MARK_TTL_SECONDS:
                name, data = failed(StreamStoppedError("The answer was not finished: its worker ended. Ask again."))
                yield StreamEvent(after + 1, name, json.dumps(data, ensure_ascii=False))
                return
            await asyncio.sleep(POLL_SECONDS)

    async def _event(self, key: str, number: int) -> StreamEvent | None:
        kept = await self._store.get(f"{key}:{number}")
        return None if kept is None else StreamEvent(number, *json.loads(kept))


async def _write(stream: Stream, told: AsyncGenerator[Told, None], failed: Tell) -> None:
    try:
        async with aclosing(told):
            async for event in told:
                stream.tell(event)
    except Exception as error:  # noqa: BLE001 - it is told: as the request's answer, or as the last event
        if not stream.events:
            stream.finish(error)
            return
        stream.tell(failed(error))
    stream.finish()


async def _with_pauses(stream: Stream) -> AsyncGenerator[StreamEvent | None, None]:
    """The stream's events, and None when none came for a while. Who reads so is no reader."""
    number = 0
    while True:
        while number < len(stream.events):
            number += 1
            yield stream.events[number - 1]
        if stream.finished:
            return
        await stream.wait(MARK_SECONDS)
        yield None


async def _cancelled(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _name(tenant_id: UUID, request_id: str) -> str:
    return f"stream:{tenant_id}:{request_id}"
