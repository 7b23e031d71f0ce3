"""The queue and the indexer over a real SQLite and a real Edge index, with a clock that the test moves."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from app.db.bootstrap import DEFAULT_TENANT_ID, bootstrap, check_embedding
from app.db.migrate import migrate
from app.db.models import Chunk, DocumentVersion, Job, JobKind
from app.db.session import Database
from app.errors import ConfigurationError, DependencyUnavailableError
from app.ingest.accept import Acceptance, Accepted, Upload, delete_document
from app.ingest.index import Indexer
from app.ingest.jobs import LeaseLostError, Queue, Worker
from app.providers.embedding import BundledEmbedder
from app.providers.protocols import EmbeddingIdentity, Matrix
from app.vectors.bm25 import Bm25Encoder
from app.vectors.edge import EdgeIndex
from app.vectors.protocols import Point

LEASE_S, ATTEMPTS = 60.0, 3
MODEL = BundledEmbedder(threads=1)


@dataclass
class Clock:
    now: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=UTC))

    def __call__(self) -> datetime:
        return self.now

    def move(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Troubled(EdgeIndex):
    """A real index that is away for a time, or during whose writing something happens."""

    away = False
    writes = 0

    async def upsert(self, points: Sequence[Point]) -> None:
        self.writes += 1
        if self.away and self.writes % 2 == 0:
            raise DependencyUnavailableError("qdrant", "Qdrant does not answer.")
        await super().upsert(points)
        await self.after_writing()

    async def after_writing(self) -> None:
        """What a test puts here."""


class Quick(BundledEmbedder):
    """The real tokenizer; vectors that cost nothing where only their number matters."""

    async def embed_documents(self, texts: Sequence[str]) -> Matrix:
        return np.tile(np.eye(1, 384, dtype=np.float32), (len(texts), 1))


@dataclass
class World:
    database: Database
    index: Troubled
    queue: Queue
    worker: Worker
    clock: Clock
    acceptance: Acceptance

    async def add(self, text: str, name: str = "a.md") -> Accepted:
        return await self.acceptance.add(DEFAULT_TENANT_ID, Upload(text.encode(), name))

    async def version(self, accepted: Accepted) -> DocumentVersion:
        async with self.database.session(reading=True) as session:
            return await session.get_one(DocumentVersion, accepted.version.id)

    async def jobs(self) -> dict[str, list[str]]:
        async with self.database.session(reading=True) as session:
            found = (await session.scalars(select(Job).order_by(Job.created_at))).all()
        return {kind: [job.state for job in found if job.kind == kind] for kind in JobKind}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database, clock = Database(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}"), Clock()
    await migrate(database)
    await bootstrap(database, MODEL.identity)
    index = Troubled(tmp_path / "index", 384)
    await index.prepare()
    queue = Queue(database, LEASE_S, ATTEMPTS, clock)
    indexer = Indexer(database, index, Quick(threads=1), Bm25Encoder(), queue, clock)
    worker = Worker(queue, {JobKind.INDEX: indexer.index, JobKind.REMOVE: indexer.remove}, 0.01)
    yield World(database, index, queue, worker, clock, Acceptance(database, 2**25, clock))
    await index.close()
    await database.close()


async def test_another_model_is_refused_with_cause_and_cure(world: World) -> None:
    other = EmbeddingIdentity("other", "2", 768, normalised=True)
    with pytest.raises(ConfigurationError, match=r"all-MiniLM-L6-v2.*other@2.*Start with the former model"):
        await check_embedding(world.database, other)


async def test_a_job_is_tried_again_later_and_later_while_a_dependency_is_away(world: World) -> None:
    accepted = await world.add("word " * 20_000)
    world.index.away = True
    await world.worker.run_until_idle()
    assert await world.jobs() == {"index": ["queued"], "remove": []}
    world.clock.move(1.9)
    assert await world.queue.claim() is None
    world.clock.move(0.2)
    world.index.away = False
    await world.worker.run_until_idle()
    version = await world.version(accepted)
    assert version.state == "ready"
    assert await world.index.count() == version.chunk_count > 64


async def test_what_failed_for_good_leaves_no_points(world: World) -> None:
    accepted = await world.add("word " * 20_000)
    world.index.away = True
    for _ in range(ATTEMPTS):
        await world.worker.run_until_idle()
        assert await world.index.count() >= 0
        world.clock.move(300)
    await world.worker.run_until_idle()
    version = await world.version(accepted)
    assert (version.state, version.error_code) == ("failed", "dependency_unavailable")
    assert await world.jobs() == {"index": ["failed"], "remove": ["succeeded"]}
    assert await world.index.count() == 0


async def test_a_job_that_ends_its_worker_is_not_taken_for_ever(world: World) -> None:
    accepted = await world.add("kills its reader")
    for _ in range(ATTEMPTS):
        claim = await world.queue.claim()
        assert claim is not None
        assert claim.kind is JobKind.INDEX
        world.clock.move(LEASE_S + 1)
    await world.worker.run_until_idle()
    assert (await world.version(accepted)).state == "failed"
    assert await world.jobs() == {"index": ["failed"], "remove": ["succeeded"]}


async def test_a_late_worker_writes_nothing_once_its_lease_is_lost(world: World) -> None:
    await world.add("text")
    late = await world.queue.claim()
    world.clock.move(LEASE_S + 1)
    assert late is not None
    taken = await world.queue.claim()
    assert taken is not None
    assert taken.job_id == late.job_id
    for write in (world.queue.renew(late), world.queue.stage(late, "index"), world.queue.hand_back(late)):
        with pytest.raises(LeaseLostError):
            await write
    with pytest.raises(LeaseLostError):
        await world.queue.failed(late, ValueError())
    await world.queue.hand_back(taken)
    again = await world.queue.claim()
    assert again is not None
    assert again.attempts == taken.attempts


async def test_a_document_deleted_while_it_is_indexed_does_not_come_back(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted = await world.add("text that is on its way out")

    async def gone() -> None:
        await delete_document(world.database, DEFAULT_TENANT_ID, accepted.document.id, world.clock)

    monkeypatch.setattr(world.index, "after_writing", gone)
    await world.worker.run_until_idle()
    assert await world.index.count() == 0
    assert await world.jobs() == {"index": ["succeeded"], "remove": ["succeeded"]}
    async with world.database.session(reading=True) as session:
        assert await session.scalar(select(func.count()).select_from(Chunk)) == 0


async def test_an_older_version_that_ends_late_is_not_shown(world: World) -> None:
    first = await world.add("the first text")
    old = await world.queue.claim()
    assert old is not None
    second = await world.acceptance.replace(DEFAULT_TENANT_ID, first.document.id, Upload(b"the second text", "a.md"))
    await world.worker.run_until_idle()
    await world.queue.hand_back(old)
    await world.worker.run_until_idle()
    assert [(await world.version(v)).state for v in (first, second)] == ["superseded", "ready"]
    assert await world.index.count() == await world.index.count(version_id=second.version.id) == 1


async def test_stopping_hands_the_job_back_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.add("text")
    started = asyncio.Event()

    async def slow() -> None:
        started.set()
        await asyncio.sleep(30)

    monkeypatch.setattr(world.index, "after_writing", slow)
    running = asyncio.create_task(world.worker.run())
    await asyncio.wait_for(started.wait(), 20)
    world.worker.stop()
    await asyncio.wait_for(running, 5)
    claim = await world.queue.claim()
    assert claim is not None
    assert claim.attempts == 1


async def test_megabytes_are_tokenised_in_a_thread_and_in_pieces(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tokenizer holds the interpreter for one call: a whole section at once stopped every request for a second."""
    calls: list[tuple[bool, int]] = []
    real = BundledEmbedder.token_offsets

    def noted(self: BundledEmbedder, text: str) -> list[tuple[int, int]]:
        calls.append((threading.current_thread() is threading.main_thread(), len(text)))
        return real(self, text)

    monkeypatch.setattr(BundledEmbedder, "token_offsets", noted)
    await world.add(("The archive command is run for each segment that is complete. " * 16 + "\n\n") * 300)
    await world.worker.run_until_idle()
    assert (await world.jobs())["index"] == ["succeeded"]
    assert max(size for _, size in calls) <= 20_000
    assert max(size for in_loop, size in calls if in_loop) < 2_000
