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
from app.errors import ConfigurationError, ConflictError, DependencyUnavailableError
from app.ingest import worker as worker_module
from app.ingest.accept import Acceptance, Accepted, Upload, delete_document
from app.ingest.index import Indexer
from app.ingest.jobs import LeaseLostError, Queue
from app.ingest.sandbox import Sandbox
from app.ingest.stages import BATCH, Stages
from app.ingest.worker import Chore, Handler, Worker
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
    """A real index that is away or breaks at every second writing, or during whose writing something happens."""

    error: Exception | None = None
    writes = 0

    async def upsert(self, points: Sequence[Point]) -> None:
        self.writes += 1
        if self.error is not None and self.writes % 2 == 0:
            raise self.error
        await super().upsert(points)
        await self.after_writing()

    async def after_writing(self) -> None:
        """What a test puts here."""


class Quick(BundledEmbedder):
    """The real tokenizer; vectors that cost nothing where only their number matters."""

    embedded = 0

    async def embed_documents(self, texts: Sequence[str]) -> Matrix:
        self.embedded += len(texts)
        return np.tile(np.eye(1, 384, dtype=np.float32), (len(texts), 1))


@dataclass
class World:
    database: Database
    index: Troubled
    embedder: Quick
    queue: Queue
    handlers: dict[JobKind, Handler]
    worker: Worker
    clock: Clock
    acceptance: Acceptance

    async def add(self, text: str, name: str = "a.md") -> Accepted:
        return await self.acceptance.add(DEFAULT_TENANT_ID, Upload(text.encode(), name))

    async def version(self, accepted: Accepted) -> DocumentVersion:
        async with self.database.session(reading=True) as session:
            return await session.get_one(DocumentVersion, accepted.version.id)

    async def settled(self, accepted: Accepted) -> None:
        while True:
            if (await self.version(accepted)).state != "accepted":
                return
            await asyncio.sleep(0.02)

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
    embedder, sandbox = Quick(threads=1), Sandbox()
    indexer = Indexer(database, index, Stages(database, sandbox, index, embedder, Bm25Encoder()), clock)
    handlers: dict[JobKind, Handler] = {JobKind.INDEX: indexer.index, JobKind.REMOVE: indexer.remove}
    worker = Worker(queue, handlers, 0.01)
    yield World(database, index, embedder, queue, handlers, worker, clock, Acceptance(database, sandbox, 2**25, clock))
    await sandbox.close()
    await index.close()
    await database.close()


async def test_another_model_is_refused_with_cause_and_cure(world: World) -> None:
    other = EmbeddingIdentity("other", "2", 768, normalised=True)
    with pytest.raises(ConfigurationError, match=r"all-MiniLM-L6-v2.*other@2.*Start with the former model"):
        await check_embedding(world.database, other)


AWAY = DependencyUnavailableError("qdrant", "Qdrant does not answer.")


async def test_an_outage_of_any_length_loses_no_document(world: World) -> None:
    accepted = await world.add("word " * 20_000)
    world.index.error = AWAY
    for wait in (2, 4, 8, 16, 32, 64, 120, 120):
        world.index.writes = 1
        await world.worker.run_until_idle()
        assert await world.jobs() == {"index": ["queued"], "remove": []}
        world.clock.move(wait - 0.1)
        assert await world.queue.claim() is None
        world.clock.move(0.2)
    world.index.error = None
    await world.worker.run_until_idle()
    version = await world.version(accepted)
    assert version.state == "ready"
    assert await world.index.count() == version.chunk_count > 64


async def test_a_retry_goes_on_after_the_last_stage_that_was_done(world: World) -> None:
    accepted = await world.add("".join(f"number {n} of many words " for n in range(8_000)))
    world.index.error = AWAY
    await world.worker.run_until_idle()
    assert await world.index.count() == 64
    world.index.error, world.index.writes = None, 0
    world.clock.move(3)
    await world.worker.run_until_idle()
    version = await world.version(accepted)
    assert world.embedder.embedded == version.chunk_count == await world.index.count() > 128
    # 64 points were written before.
    assert world.index.writes == -(-version.chunk_count // 64) - 1


async def test_points_that_were_lost_between_two_attempts_are_written_again(world: World) -> None:
    accepted = await world.add("word " * 20_000)
    world.index.error = AWAY
    await world.worker.run_until_idle()
    await world.index.delete_version(accepted.version.id)
    world.index.error = None
    world.clock.move(3)
    await world.worker.run_until_idle()
    version = await world.version(accepted)
    assert version.state == "ready"
    assert await world.index.count() == version.chunk_count


async def test_unchanged_chunks_of_a_new_version_are_not_embedded_again(world: World) -> None:
    sections = [f"# Section {n}\n\nWhat stands in section {n}." for n in range(20)]
    first = await world.add("\n\n".join(sections))
    await world.worker.run_until_idle()
    assert world.embedder.embedded == 20
    sections[7] = "# Section 7\n\nSomething else."
    changed = Upload("\n\n".join(sections).encode(), "a.md")
    second = await world.acceptance.replace(DEFAULT_TENANT_ID, first.document.id, changed)
    await world.worker.run_until_idle()
    assert (await world.version(second)).state == "ready"
    assert world.embedder.embedded == 21
    assert await world.index.count() == 20


async def test_what_failed_for_good_leaves_no_points_and_can_be_tried_again(world: World) -> None:
    accepted = await world.add("word " * 20_000)
    world.index.error = RuntimeError("broken")
    for writes in (0, *[1] * (ATTEMPTS - 1)):
        world.index.writes = writes
        await world.worker.run_until_idle()
        world.clock.move(300)
    assert (await world.version(accepted)).state == "failed"
    assert accepted.job is not None
    await world.worker.run_until_idle()
    assert (await world.version(accepted)).error_code == "internal_error"
    assert await world.jobs() == {"index": ["failed"], "remove": ["succeeded"]}
    assert await world.index.count() == 0
    embedded, world.index.error = world.embedder.embedded, None
    await world.queue.retry(DEFAULT_TENANT_ID, accepted.job.id)
    await world.worker.run_until_idle()
    version = await world.version(accepted)
    assert (version.state, version.error_code) == ("ready", None)
    assert await world.index.count() == version.chunk_count
    assert world.embedder.embedded == embedded


async def test_a_waiting_job_is_cancelled_at_once(world: World) -> None:
    accepted = await world.add("text")
    assert accepted.job is not None
    assert (await world.queue.cancel(DEFAULT_TENANT_ID, accepted.job.id)).state == "cancelled"
    await world.worker.run_until_idle()
    version = await world.version(accepted)
    assert (version.state, version.error_code) == ("failed", "cancelled")
    assert await world.jobs() == {"index": ["cancelled"], "remove": ["succeeded"]}
    with pytest.raises(ConflictError, match="it is cancelled"):
        await world.queue.cancel(DEFAULT_TENANT_ID, accepted.job.id)


async def test_a_running_job_is_cancelled_before_its_next_write(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await world.add("the first text")
    await world.worker.run_until_idle()
    second = await world.acceptance.replace(DEFAULT_TENANT_ID, first.document.id, Upload(b"the second text", "a.md"))
    assert second.job is not None
    job_id = second.job.id

    async def cancel() -> None:
        await world.queue.cancel(DEFAULT_TENANT_ID, job_id)

    monkeypatch.setattr(world.index, "after_writing", cancel)
    await world.worker.run_until_idle()
    assert [(await world.version(v)).state for v in (first, second)] == ["ready", "failed"]
    assert await world.index.count() == await world.index.count(version_id=first.version.id) == 1
    assert await world.jobs() == {"index": ["succeeded", "cancelled"], "remove": ["succeeded"]}


async def test_a_removal_is_not_cancelled(world: World) -> None:
    accepted = await world.add("text")
    job = await delete_document(world.database, DEFAULT_TENANT_ID, accepted.document.id, world.clock)
    with pytest.raises(ConflictError, match="removal"):
        await world.queue.cancel(DEFAULT_TENANT_ID, job.id)


async def test_a_small_document_does_not_wait_for_a_large_one(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.add("word " * 20_000, "large.md")
    stuck = asyncio.Event()

    async def slow() -> None:
        if not stuck.is_set():
            stuck.set()
            await asyncio.sleep(30)

    monkeypatch.setattr(world.index, "after_writing", slow)
    worker = Worker(world.queue, world.handlers, 0.01, concurrency=2)
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(stuck.wait(), 20)
    small = await world.add("A letter.", "small.md")
    async with asyncio.timeout(10):
        await world.settled(small)
    worker.stop()
    await running


async def test_a_worker_that_rests_takes_up_at_once_what_its_process_accepts_and_ends_at_once(world: World) -> None:
    acceptance = Acceptance(world.database, Sandbox(), 2**25, world.clock, wake=world.queue.wake)
    worker = Worker(world.queue, world.handlers, poll_s=3600, concurrency=2)
    running = asyncio.create_task(worker.run())
    async with asyncio.timeout(20):
        for name in ("a.md", "b.md"):
            await asyncio.sleep(0.2)
            await world.settled(await acceptance.add(DEFAULT_TENANT_ID, Upload(b"A letter.", name)))
        worker.stop()
        await running


@pytest.mark.parametrize("count", [BATCH - 1, BATCH, BATCH + 1, 2 * BATCH])
async def test_every_chunk_is_embedded_and_written_however_many_there_are(world: World, count: int) -> None:
    accepted = await world.add("\n\n".join(f"# Part {part}\n\nText {part}." for part in range(count)))
    await world.worker.run_until_idle()
    assert (await world.version(accepted)).chunk_count == await world.index.count() == world.embedder.embedded == count
    async with world.database.session(reading=True) as session:
        progress = await session.scalar(select(Job.progress))
    assert progress is not None
    assert [progress[stage] for stage in ("parse", "chunk", "embed", "index")] == [
        {"done": 1, "total": 1},
        *[{"done": count, "total": count}] * 3,
    ]


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
    for write in (world.queue.renew(late), world.queue.cancelled(late), world.queue.hand_back(late)):
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


async def test_a_chore_that_failed_is_tried_again_soon(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "CHORE_RETRY_SECONDS", 0.01)
    tries: list[int] = []
    done = asyncio.Event()

    async def chore() -> None:
        tries.append(1)
        if len(tries) < 3:
            raise AWAY
        done.set()

    worker = Worker(world.queue, world.handlers, 0.01, chores=[Chore("chore", chore, 86_400)])
    running = asyncio.create_task(worker.run())
    await asyncio.wait_for(done.wait(), 10)
    await asyncio.sleep(0.05)
    worker.stop()
    await running
    assert len(tries) == 3


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
