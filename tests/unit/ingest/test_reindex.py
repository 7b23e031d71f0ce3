"""The index is mended and rebuilt from the database, over a real SQLite and a real Edge index."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
from sqlalchemy import select, update

from app.db.bootstrap import DEFAULT_COLLECTION_ID, DEFAULT_TENANT_ID, bootstrap, check_embedding
from app.db.collection_settings import CollectionSettings
from app.db.migrate import migrate
from app.db.models import Chunk, Collection, JobKind
from app.db.session import Database
from app.errors import ConfigurationError
from app.ingest.accept import Acceptance, Accepted, Upload, delete_document
from app.ingest.index import Indexer
from app.ingest.jobs import Queue
from app.ingest.reindex import Reindexer, Repair
from app.ingest.sandbox import Sandbox
from app.ingest.stages import Stages
from app.ingest.worker import Worker
from app.providers.embedding import BundledEmbedder
from app.providers.protocols import EmbeddingIdentity, Matrix
from app.vectors.bm25 import Bm25Encoder
from app.vectors.edge import EdgeIndex
from app.vectors.protocols import Point, Scope, SparseVector

MODEL = BundledEmbedder(threads=1)
BM25 = Bm25Encoder()
SCOPE = Scope(DEFAULT_TENANT_ID, DEFAULT_COLLECTION_ID)


class OtherModel(BundledEmbedder):
    """Another model: its vectors have another dimension, and count how many were made."""

    identity = EmbeddingIdentity("other", "1", 16, normalised=True)
    embedded = 0

    async def embed_documents(self, texts: Sequence[str]) -> Matrix:
        self.embedded += len(texts)
        return np.tile(np.eye(1, 16, dtype=np.float32), (len(texts), 1))


@dataclass
class World:
    directory: Path
    database: Database
    index: EdgeIndex
    stages: Stages
    worker: Worker
    acceptance: Acceptance
    reindexer: Reindexer

    async def add(self, number: int) -> Accepted:
        text = f"# Harbour {number}\n\nBerth {number} costs {number} euros.\n\n## Depth\n\nIt is {number} metres deep."
        accepted = await self.acceptance.add(DEFAULT_TENANT_ID, Upload(text.encode(), f"{number}.md"))
        await self.worker.run_until_idle()
        return accepted

    async def found(self, words: str) -> int:
        return len((await self.index.search(SCOPE, None, BM25.query(words), 100))[1])

    async def visible(self) -> set[object]:
        async with self.database.session(reading=True) as session:
            return set(await session.scalars(select(Chunk.id)))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
    await migrate(database)
    await bootstrap(database, MODEL.identity)
    index = EdgeIndex(tmp_path / "index", 384)
    await index.prepare()
    queue = Queue(database, 60, 3)
    sandbox = Sandbox()
    stages = Stages(database, sandbox, index, MODEL, BM25)
    indexer = Indexer(database, index, stages)
    worker = Worker(queue, {JobKind.INDEX: indexer.index, JobKind.REMOVE: indexer.remove}, 0.01)
    reindexer = Reindexer(database, index, MODEL, BM25)
    yield World(tmp_path, database, index, stages, worker, Acceptance(database, sandbox, 2**25), reindexer)
    await sandbox.close()
    await index.close()
    await database.close()


def stray() -> Point:
    return Point(
        uuid4(), *(SCOPE.tenant_id, SCOPE.collection_id), uuid4(), uuid4(), np.eye(1, 384, dtype=np.float32)[0],
        SparseVector([1], [1.0]), source="", title="", media_type="",
    )  # fmt: skip


async def test_an_index_that_is_as_it_should_be_is_left_alone(world: World) -> None:
    await world.add(1)
    assert await world.reindexer.repair() == Repair(0, 0)


async def test_lost_points_are_written_again_and_strays_removed(world: World) -> None:
    accepted = [await world.add(number) for number in range(4)]
    await world.index.delete_version(accepted[2].version.id)
    await world.index.upsert([stray(), stray(), stray()])
    assert await world.reindexer.repair() == Repair(removed=3, added=2)
    assert set(await world.index.page(None, 100)) == await world.visible()
    assert await world.reindexer.repair() == Repair(0, 0)


async def test_points_of_a_document_that_is_being_indexed_are_no_strays(world: World) -> None:
    await world.acceptance.add(DEFAULT_TENANT_ID, Upload(b"on its way", "a.md"))
    stages = world.stages
    claim = await Queue(world.database, 60, 3).claim()
    assert claim is not None
    for stage in (stages.parse, stages.chunk, stages.embed, stages.write):
        await stage(claim)
        assert await world.reindexer.repair() == Repair(0, 0)
    assert await world.index.count() == 1


async def test_a_rebuilt_index_holds_what_is_visible_and_nothing_else(world: World) -> None:
    accepted = [await world.add(number) for number in range(6)]
    await delete_document(world.database, DEFAULT_TENANT_ID, accepted[0].document.id)
    await world.index.upsert([stray()])
    told: list[tuple[int, int]] = []
    assert await world.reindexer.rebuild(lambda done, total: told.append((done, total))) >= 10
    assert set(await world.index.page(None, 100)) == await world.visible()
    assert await world.found("berth") == 5
    assert told[-1] == (10, 10)


async def test_another_embedding_model_takes_over_by_a_rebuild(world: World) -> None:
    for number in range(3):
        await world.add(number)
    other = OtherModel(threads=1)
    with pytest.raises(ConfigurationError, match="anchorage reindex"):
        await check_embedding(world.database, other.identity)
    index = EdgeIndex(world.directory / "other", 16)
    await index.prepare()
    await Reindexer(world.database, index, other, BM25).rebuild()
    assert other.embedded == await index.count() == 6
    await check_embedding(world.database, other.identity)
    # What was embedded is kept: the next rebuild embeds nothing.
    await Reindexer(world.database, index, other, BM25).rebuild()
    assert other.embedded == 6
    await index.close()


async def test_documents_are_cut_anew_after_a_change_of_chunk_sizes(world: World) -> None:
    text = " ".join(f"Sentence number {n} says little." for n in range(60)).encode()
    accepted = await world.acceptance.add(DEFAULT_TENANT_ID, Upload(text, "a.txt"))
    await world.worker.run_until_idle()
    before = await world.index.count()
    async with world.database.session() as session:
        settings = CollectionSettings(chunk_tokens=40, chunk_overlap_tokens=8).written()
        await session.execute(update(Collection).values(settings=settings))
    assert await world.reindexer.rechunk() == 1
    assert await world.index.count() == before
    await world.worker.run_until_idle()
    assert await world.index.count() > 3 * before
    async with world.database.session(reading=True) as session:
        rows = (await session.scalars(select(Chunk))).all()
    assert max(row.token_count for row in rows) <= 40
    assert {row.document_id for row in rows} == {accepted.document.id}
