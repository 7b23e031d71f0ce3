"""One contract for all stores: Qdrant Edge in this process, a Qdrant server (the lab's stand-in) on loopback, and
Postgres with pgvector, searched exactly and by its graph."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import psycopg
import pytest

from app.db.session import Database
from app.errors import ConfigurationError, DependencyUnavailableError
from app.providers.protocols import EmbeddingIdentity
from app.settings import Settings
from app.vectors.bm25 import Bm25Encoder
from app.vectors.edge import EdgeIndex
from app.vectors.filter_reader import parse_filter
from app.vectors.pgvector import PgvectorIndex
from app.vectors.protocols import Point, Scope, Vector, VectorIndex
from app.vectors.qdrant import QdrantIndex
from tests.lab.qdrant_standin.process import KEY, Standin
from tests.services.postgres import Postgres, pgvector_programs

DIMENSION = 8
IDENTITY = EmbeddingIdentity("contract", "1", DIMENSION, normalised=True)
TENANT, OTHER_TENANT, COLLECTION, OTHER_COLLECTION = uuid4(), uuid4(), uuid4(), uuid4()
SCOPE = Scope(TENANT, COLLECTION)
BM25 = Bm25Encoder()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standin]:
    standin = Standin(tmp_path_factory.mktemp("qdrant")).start()
    yield standin
    standin.end()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    running = Postgres(pgvector_programs()).start()
    yield running
    running.stop()


@pytest.fixture(params=["edge", "qdrant", "pgvector", "pgvector-graph"])
async def index(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[VectorIndex]:
    async with opened(request.param, request, tmp_path, monkeypatch) as made:
        yield made


@asynccontextmanager
async def opened(
    store: str, request: pytest.FixtureRequest, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[VectorIndex]:
    """An empty index in a store of that kind."""
    made: VectorIndex
    async with AsyncExitStack() as stack:
        if store == "edge":
            made = EdgeIndex(directory / "index", DIMENSION)
        elif store == "qdrant":
            server: Standin = request.getfixturevalue("server")
            made = QdrantIndex(server.url, f"t{uuid4().hex}", IDENTITY, KEY)
        else:
            url = request.getfixturevalue("postgres").database()
            if store == "pgvector-graph":
                monkeypatch.setattr("app.vectors.pgvector.EXACT_POINTS", -1)
                # So few points are sorted sooner than the graph is read; forbidden to, Postgres takes the graph.
                with psycopg.connect(url, autocommit=True) as connection:
                    name = connection.info.dbname
                    connection.execute(f'ALTER DATABASE "{name}" SET enable_sort = off'.encode())
            database = Database(Settings(database_url=url).sqlalchemy_url)
            stack.push_async_callback(database.close)
            made = PgvectorIndex(database, "contract", IDENTITY)
        await made.prepare()
        stack.push_async_callback(made.close)
        yield made


def axis(number: int, lean: float = 0.0) -> Vector:
    """A unit vector along one axis, leaning a little towards the next."""
    vector = np.zeros(DIMENSION, np.float32)
    vector[number], vector[(number + 1) % DIMENSION] = 1.0, lean
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def point(
    dense: Vector,
    words: str,
    *,
    scope: Scope = SCOPE,
    document_id: UUID | None = None,
    version_id: UUID | None = None,
    chunk_id: UUID | None = None,
    attributes: Mapping[str, Any] | None = None,
    **names: str,
) -> Point:
    return Point(
        chunk_id or uuid4(),
        scope.tenant_id,
        scope.collection_id,
        document_id or uuid4(),
        version_id or uuid4(),
        dense,
        BM25.document(words),
        attributes or {},
        **{"source": "a.md", "title": "A", "media_type": "text/markdown"} | names,
    )


async def test_the_nearest_comes_first_and_its_score_is_the_cosine(index: VectorIndex) -> None:
    near, far = point(axis(0, 0.1), "archive command"), point(axis(1), "vacuum freeze")
    await index.upsert([far, near])
    dense, sparse = await index.search(SCOPE, axis(0), None, 10)
    assert [hit.chunk_id for hit in dense] == [near.chunk_id, far.chunk_id]
    assert dense[0].score == pytest.approx(float(axis(0) @ axis(0, 0.1)), abs=1e-5)
    assert sparse == []


async def test_words_find_only_what_holds_them_and_rare_words_weigh_more(index: VectorIndex) -> None:
    rare = point(axis(0), "server checkpoint")
    common = [point(axis(n), "server backup") for n in range(1, 6)]
    await index.upsert([rare, *common])
    _, sparse = await index.search(SCOPE, None, BM25.query("server checkpoint"), 10)
    assert sparse[0].chunk_id == rare.chunk_id
    assert sparse[0].score > 2 * sparse[1].score
    _, none = await index.search(SCOPE, None, BM25.query("replication"), 10)
    assert none == []


async def test_both_sides_are_asked_at_once_and_limited(index: VectorIndex) -> None:
    await index.upsert([point(axis(n), "lock table") for n in range(6)])
    dense, sparse = await index.search(SCOPE, axis(0), BM25.query("lock"), 4)
    assert (len(dense), len(sparse)) == (4, 4)


async def test_a_question_of_stop_words_alone_finds_no_words(index: VectorIndex) -> None:
    await index.upsert([point(axis(0), "lock table")])
    dense, sparse = await index.search(SCOPE, axis(0), BM25.query("what is the"), 4)
    assert (len(dense), sparse) == (1, [])


async def test_nothing_crosses_a_tenant_or_a_collection(index: VectorIndex) -> None:
    mine = point(axis(0), "secret plan")
    theirs = point(axis(0), "secret plan", scope=Scope(OTHER_TENANT, COLLECTION))
    elsewhere = point(axis(0), "secret plan", scope=Scope(TENANT, OTHER_COLLECTION))
    await index.upsert([mine, theirs, elsewhere])
    for hits in await index.search(SCOPE, axis(0), BM25.query("secret plan"), 10):
        assert [hit.chunk_id for hit in hits] == [mine.chunk_id]


async def test_the_same_chunk_again_replaces(index: VectorIndex) -> None:
    first = point(axis(0), "before")
    await index.upsert([first])
    await index.upsert([point(axis(3), "after", chunk_id=first.chunk_id, version_id=first.version_id)])
    assert await index.count() == 1
    _, old = await index.search(SCOPE, None, BM25.query("before"), 10)
    dense, _ = await index.search(SCOPE, axis(3), None, 10)
    assert old == []
    assert dense[0].score == pytest.approx(1.0, abs=1e-5)


async def test_removal_takes_one_version_or_one_document_and_counts_are_exact(index: VectorIndex) -> None:
    document, old, new = uuid4(), uuid4(), uuid4()
    for version, size in ((old, 3), (new, 5)):
        await index.upsert([point(axis(n), "row", document_id=document, version_id=version) for n in range(size)])
    await index.upsert([point(axis(7), "row")])
    assert await index.count(document_id=document) == 8
    await index.delete_version(old)
    assert await index.count(version_id=old) == 0
    assert await index.count(version_id=new) == 5
    await index.delete_document(document)
    assert await index.count(document_id=document) == 0
    assert await index.count() == 1
    await index.delete_document(document)  # done again after a crash: no error


async def test_vectors_come_back_as_they_were_written_and_what_is_gone_is_left_out(index: VectorIndex) -> None:
    points = [point(axis(n, 0.3), "row") for n in range(3)]
    await index.upsert(points)
    found = await index.vectors([points[0].chunk_id, points[2].chunk_id, uuid4()])
    assert set(found) == {points[0].chunk_id, points[2].chunk_id}
    for one in (points[0], points[2]):
        np.testing.assert_allclose(found[one.chunk_id], one.dense, atol=1e-6)


async def test_a_filter_leaves_both_sides_full_though_most_points_do_not_match(index: VectorIndex) -> None:
    """Nearer points that don't match must not take the places; with a graph that is not a matter of course."""
    crowd = [point(axis(0, n / 1000), "lock table", attributes={"lang": "de"}) for n in range(600)]
    wanted = [point(axis(4, n / 10), "lock table", attributes={"lang": "en"}) for n in range(6)]
    await index.upsert([*crowd, *wanted])
    found = await index.search(SCOPE, axis(0), BM25.query("lock"), 6, parse_filter({"lang": "en"}))
    for hits in found:
        assert {hit.chunk_id for hit in hits} == {one.chunk_id for one in wanted}


async def test_a_crowd_of_another_tenant_takes_no_places_either(index: VectorIndex) -> None:
    foreign = Scope(OTHER_TENANT, OTHER_COLLECTION)
    await index.upsert([point(axis(0, n / 1000), "lock table", scope=foreign) for n in range(600)])
    mine = [point(axis(4, n / 10), "lock table") for n in range(6)]
    await index.upsert(mine)
    for hits in await index.search(SCOPE, axis(0), BM25.query("lock"), 6):
        assert {hit.chunk_id for hit in hits} == {one.chunk_id for one in mine}


async def test_preparing_again_changes_nothing(index: VectorIndex) -> None:
    await index.upsert([point(axis(0), "kept")])
    await index.prepare()
    await index.check()
    assert await index.count() == 1


async def test_edge_keeps_its_points_over_a_restart(tmp_path: Path) -> None:
    first = EdgeIndex(tmp_path / "index", DIMENSION)
    await first.prepare()
    await first.upsert([point(axis(n), "kept") for n in range(4)])
    await first.close()
    second = EdgeIndex(tmp_path / "index", DIMENSION)
    await second.prepare()
    assert await second.count() == 4
    await second.close()


async def test_edge_refuses_a_second_process_and_the_first_goes_on(tmp_path: Path) -> None:
    first, second = EdgeIndex(tmp_path / "index", DIMENSION), EdgeIndex(tmp_path / "index", DIMENSION)
    await first.prepare()
    await first.upsert([point(axis(0), "held")])
    with pytest.raises(ConfigurationError, match="in use by another process"):
        await second.prepare()
    await first.upsert([point(axis(1), "held")])
    await first.close()
    await second.prepare()
    assert await second.count() == 2
    await second.close()


async def test_edge_refuses_an_index_of_another_dimension(tmp_path: Path) -> None:
    first = EdgeIndex(tmp_path / "index", DIMENSION)
    await first.prepare()
    await first.close()
    with pytest.raises(ConfigurationError, match="dimension"):
        await EdgeIndex(tmp_path / "index", DIMENSION * 2).prepare()


async def test_edge_flushes_when_dirty_even_after_a_flush_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.vectors.edge.FLUSH_SECONDS", 0.02)
    index = EdgeIndex(tmp_path / "index", DIMENSION)
    await index.prepare()
    flushed: list[bool] = []

    class Shard:
        """The real shard, whose disk is full for the first flush."""

        def __init__(self, real: object) -> None:
            self._real = real

        def flush(self) -> None:
            flushed.append(len(flushed) > 0)
            if not flushed[-1]:
                raise OSError(28, os.strerror(28))
            self._real.flush()  # type: ignore[attr-defined]

        def __getattr__(self, name: str) -> object:
            return getattr(self._real, name)

    index._shard = Shard(index._shard)  # type: ignore[assignment]
    await index.upsert([point(axis(0), "dirty")])
    for _ in range(100):
        if True in flushed:
            break
        await asyncio.sleep(0.02)
    assert flushed[:2] == [False, True]
    await index.close()


async def test_qdrant_says_so_when_the_server_is_gone(tmp_path: Path) -> None:
    server = Standin(tmp_path / "qdrant").start()
    index = QdrantIndex(server.url, "gone", IDENTITY, KEY, timeout_s=2)
    await index.prepare()
    server.end()
    with pytest.raises(DependencyUnavailableError) as caught:
        await index.search(SCOPE, axis(0), None, 1)
    assert caught.value.dependency == "qdrant"
    with pytest.raises(DependencyUnavailableError):
        await index.check()
    await index.close()


async def test_vectors_of_another_model_are_kept_apart(server: Standin) -> None:
    name = f"t{uuid4().hex}"
    first = QdrantIndex(server.url, name, IDENTITY, KEY)
    other = QdrantIndex(server.url, name, EmbeddingIdentity("contract", "2", DIMENSION, normalised=True), KEY)
    await first.prepare()
    await other.prepare()
    await first.upsert([point(axis(0), "archive")])
    assert (await first.count(), await other.count()) == (1, 0)
    await first.close()
    await other.close()


async def test_qdrant_completes_a_preparation_that_was_broken_off(server: Standin) -> None:
    """Killed after the collection was made, before its payload indexes: the next start must make them."""
    alias = f"t{uuid4().hex}"
    broken = QdrantIndex(server.url, alias, IDENTITY, KEY)
    real = broken._client.create_payload_index

    async def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    broken._client.create_payload_index = killed  # type: ignore[assignment,method-assign]
    with pytest.raises(KeyboardInterrupt):
        await broken.prepare()
    broken._client.create_payload_index = real  # type: ignore[method-assign]
    await broken.prepare()
    described = await broken._client.get_collection(broken.alias)
    assert set(described.payload_schema) == {"scope", "document_id", "version_id"}
    await broken.close()


async def test_pages_go_through_every_point_once(index: VectorIndex) -> None:
    points = [point(axis(n % DIMENSION), f"word{n}") for n in range(25)]
    await index.upsert(points)
    seen: list[UUID] = []
    while page := await index.page(seen[-1] if seen else None, 7):
        assert len(page) <= 7
        seen += page
    assert sorted(seen) == sorted(p.chunk_id for p in points)
    wanted = [points[0].chunk_id, uuid4(), points[1].chunk_id]
    assert await index.present(wanted) == {wanted[0], wanted[2]}
    await index.delete_points(wanted)
    assert await index.present(wanted) == set()
    assert await index.count() == 23


async def test_a_generation_takes_the_place_of_the_index_in_one_step(index: VectorIndex) -> None:
    old, new = point(axis(0), "archive"), point(axis(0), "vacuum")
    await index.upsert([old])
    abandoned = await index.generation()
    await abandoned.upsert([point(axis(1), "left behind")])
    if isinstance(abandoned, EdgeIndex):
        await abandoned.close()
    generation = await index.generation()
    await generation.upsert([new])
    assert await index.present([old.chunk_id, new.chunk_id]) == {old.chunk_id}
    await index.serve(generation)
    dense, sparse = await index.search(SCOPE, axis(0), BM25.query("vacuum"), 10)
    assert await index.count() == 1
    assert [hit.chunk_id for hit in dense] == [hit.chunk_id for hit in sparse] == [new.chunk_id]
    again = await index.generation()
    assert await again.count() == 0
    await again.upsert([old])
    await index.serve(again)
    assert await index.present([old.chunk_id, new.chunk_id]) == {old.chunk_id}
