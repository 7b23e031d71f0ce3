"""The vector index of embedded mode: Qdrant's own engine, in this process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import shutil
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TextIO
from uuid import UUID

import numpy as np
import qdrant_edge as edge
import structlog

from app.errors import ConfigurationError
from app.vectors.edge_filters import condition
from app.vectors.filters import Filter
from app.vectors.protocols import DOCUMENT, SCOPE, VERSION, Hit, Point, Scope, SparseVector, Vector, VectorIndex

log = structlog.get_logger(__name__)
FLUSH_SECONDS = 5.0
SHARD = "shard"
# Building a graph would hold the interpreter for its whole time; an exact scan takes some ms at this size.
NEVER_INDEX_KB = 10**9


class EdgeIndex:
    """One shard on disk. The engine writes its log first, so a killed process loses nothing."""

    def __init__(self, path: Path, dimension: int) -> None:
        self._path = path
        self._dimension = dimension
        self._lock: TextIO | None = None
        self._shard: edge.EdgeShard | None = None
        self._dirty = False
        self._flusher: asyncio.Task[None] | None = None

    async def prepare(self) -> None:
        """Open the shard, made when absent.

        Raises:
            ConfigurationError: another process has it open, or its vectors have another dimension.
        """
        if self._shard is not None:
            return
        self._path.mkdir(parents=True, exist_ok=True)
        lock = (self._path / "lock").open("w")
        try:
            # Before the engine: a second opening is refused by it, but only after harming the first.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise ConfigurationError(
                f"{self._path} is in use by another process. Embedded mode is one process: stop the other "
                "`anchorage serve`, or set DATA_DIR to another folder."
            ) from None
        try:
            self._shard = self._load_or_create(self._path / SHARD)
        except BaseException:
            lock.close()
            raise
        self._lock = lock
        self._flusher = asyncio.create_task(self._flush_often())

    def _load_or_create(self, path: Path) -> edge.EdgeShard:
        former = self._path / "former"
        if former.exists() and not path.exists():
            # A rebuilt index was about to take its place when the process was killed.
            former.rename(path)
        if (path / "edge_config.json").exists():
            shard = edge.EdgeShard.load(str(path))
            found = json.loads((path / "edge_config.json").read_text())["vectors"]["dense"]["size"]
            if found != self._dimension:
                shard.close()
                raise ConfigurationError(
                    f"The index in {self._path} holds vectors of dimension {found}, the embedding model makes "
                    f"{self._dimension}. Start with the former model, or set DATA_DIR to another folder."
                )
        else:
            path.mkdir(exist_ok=True)
            shard = self._create(path)
        # Also after loading: the process that made the shard may have been killed before it came to this.
        for field in {SCOPE, DOCUMENT, VERSION} - set(shard.info().payload_schema):
            shard.update(edge.UpdateOperation.create_field_index(field, edge.PayloadSchemaType.Keyword))
        shard.flush()
        return shard

    def _create(self, path: Path) -> edge.EdgeShard:
        config = edge.EdgeConfig(
            vectors={"dense": edge.EdgeVectorParams(self._dimension, edge.Distance.Cosine)},
            sparse_vectors={"sparse": edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
            optimizers=edge.EdgeOptimizersConfig(indexing_threshold=NEVER_INDEX_KB),
        )
        return edge.EdgeShard.create(str(path), config)

    async def upsert(self, points: Sequence[Point]) -> None:
        """Write points."""
        converted = [
            edge.Point(
                str(point.chunk_id),
                {
                    "dense": point.dense.tolist(),
                    "sparse": edge.SparseVector(point.sparse.indices, point.sparse.values),
                },
                point.payload(),
            )
            for point in points
        ]
        self._update(edge.UpdateOperation.upsert_points(converted))

    async def delete_version(self, version_id: UUID) -> None:
        """Remove a version's points."""
        self._update(edge.UpdateOperation.delete_points_by_filter(_matching({VERSION: version_id})))

    async def delete_document(self, document_id: UUID) -> None:
        """Remove a document's points."""
        self._update(edge.UpdateOperation.delete_points_by_filter(_matching({DOCUMENT: document_id})))

    async def count(self, *, document_id: UUID | None = None, version_id: UUID | None = None) -> int:
        """Exact number of points."""
        wanted = {DOCUMENT: document_id, VERSION: version_id}
        conditions = {field: value for field, value in wanted.items() if value is not None}
        found: int = self._open().count(edge.CountRequest(True, _matching(conditions) if conditions else None))
        return found

    async def delete_points(self, chunk_ids: Sequence[UUID]) -> None:
        """Remove single points."""
        self._update(edge.UpdateOperation.delete_points([str(chunk_id) for chunk_id in chunk_ids]))

    async def present(self, chunk_ids: Collection[UUID]) -> set[UUID]:
        """Which of them have a point."""
        found = self._open().retrieve([str(chunk_id) for chunk_id in chunk_ids], False, False)
        return {UUID(str(point.id)) for point in found}

    async def page(self, after: UUID | None, limit: int) -> list[UUID]:
        """Chunk ids in order."""
        offset = None if after is None else str(after)
        found, _ = self._open().scroll(
            edge.ScrollRequest(offset=offset, limit=limit + 1, with_payload=False, with_vector=False)
        )
        # The engine's offset is the first one of the page.
        return [chunk_id for chunk_id in (UUID(str(point.id)) for point in found) if chunk_id != after][:limit]

    async def generation(self) -> EdgeIndex:
        """A new index in a folder below this one's."""
        path = self._path / "generation"
        shutil.rmtree(path, ignore_errors=True)
        made = EdgeIndex(path, self._dimension)
        await made.prepare()
        return made

    async def serve(self, generation: VectorIndex) -> None:
        """Put the generation's shard into the place of this one's."""
        if not isinstance(generation, EdgeIndex):
            raise TypeError("a generation of another engine")
        await generation.close()
        self._flush()
        self._open().close()
        self._shard = None
        former = self._path / "former"
        shutil.rmtree(former, ignore_errors=True)
        (self._path / SHARD).rename(former)
        (generation._path / SHARD).rename(self._path / SHARD)
        self._shard = self._load_or_create(self._path / SHARD)
        shutil.rmtree(former)
        shutil.rmtree(generation._path)

    async def search(
        self,
        scope: Scope,
        dense: Vector | None,
        sparse: SparseVector | None,
        limit: int,
        wanted: Filter | None = None,
    ) -> tuple[list[Hit], list[Hit]]:
        """Best hits by meaning and by words."""
        wall = _matching({SCOPE: scope})
        if wanted is not None:
            wall = edge.Filter(must=[wall, condition(wanted)])
        by_meaning: list[Hit] = []
        by_words: list[Hit] = []
        if dense is not None:
            by_meaning = self._query(edge.Query.Nearest(dense.tolist(), using="dense"), wall, limit)
        if sparse is not None and sparse.indices:
            vector = edge.SparseVector(sparse.indices, sparse.values)
            by_words = self._query(edge.Query.Nearest(vector, using="sparse"), wall, limit)
        return by_meaning, by_words

    async def vectors(self, chunk_ids: Sequence[UUID]) -> dict[UUID, Vector]:
        """The dense vectors of these chunks."""
        found = self._open().retrieve([str(chunk_id) for chunk_id in chunk_ids], False, ["dense"])
        return {
            UUID(str(record.id)): np.asarray(record.vector["dense"], np.float32)
            for record in found
            if isinstance(record.vector, dict)
        }

    async def check(self) -> None:
        """The engine is in this process: open is ready."""
        self._open()

    async def close(self) -> None:
        """Flush, close and let the next process in."""
        if self._flusher is not None:
            self._flusher.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._flusher
            self._flusher = None
        if self._shard is not None:
            self._flush()
            self._shard.close()
            self._shard = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _open(self) -> edge.EdgeShard:
        if self._shard is None:
            raise RuntimeError("the index is used before prepare() or after close()")
        return self._shard

    def _update(self, operation: edge.UpdateOperation) -> None:
        self._dirty = True
        self._open().update(operation)

    def _query(self, query: edge.Query, wall: edge.Filter, limit: int) -> list[Hit]:
        found = self._open().query(edge.QueryRequest(limit, query=query, filter=wall))
        return [Hit(UUID(str(point.id)), point.score) for point in found]

    def _flush(self) -> None:
        if self._dirty:
            self._open().flush()
            self._dirty = False

    async def _flush_often(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            try:
                self._flush()
            except Exception:  # a full disk must not end the flushing for good
                log.exception("index.flush_failed", path=str(self._path))


def _matching(values: Mapping[str, UUID | Scope]) -> edge.Filter:
    return edge.Filter(
        must=[edge.FieldCondition(field, match=edge.MatchValue(str(value))) for field, value in values.items()]
    )
