"""One contract for both engines: Qdrant Edge in this process, and a Qdrant server (the lab's stand-in) on loopback."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID, uuid4

import numpy as np
import pytest

from app.errors import ConfigurationError, DependencyUnavailableError
from app.providers.protocols import EmbeddingIdentity
from app.vectors.bm25 import Bm25Encoder
from app.vectors.edge import EdgeIndex
from app.vectors.protocols import Point, Scope, Vector, VectorIndex
from app.vectors.qdrant import QdrantIndex
from tests.lab.qdrant_standin.process import KEY, Standin

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


@pytest.fixture(params=["edge", "qdrant"])
async def index(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[VectorIndex]:
    made: VectorIndex
    if request.param == "edge":
        made = EdgeIndex(tmp_path / "index", DIMENSION)
    else:
        server: Standin = request.getfixturevalue("server")
        made = QdrantIndex(server.url, f"t{uuid4().hex}", IDENTITY, KEY)
    await made.prepare()
    yield made
    await made.close()


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
) -> Point:
    return Point(
        chunk_id or uuid4(),
        scope.tenant_id,
        scope.collection_id,
        document_id or uuid4(),
        version_id or uuid4(),
        dense,
        BM25.document(words),
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
    assert set(described.payload_schema) == {"tenant_id", "collection_id", "document_id", "version_id"}
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
