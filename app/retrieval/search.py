"""From a question to ranked passages: the index proposes, the database decides what is visible."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from uuid import UUID

from sqlalchemy import select

from app.db.models import Chunk, Document
from app.db.session import Database
from app.providers.protocols import Embedder
from app.retrieval.fusion import reciprocal_rank_fusion
from app.settings import Strategy
from app.vectors.bm25 import Bm25Encoder
from app.vectors.protocols import Hit, Scope, VectorIndex

# Each list is read deeper than what is asked for: fusion gains from it.
DEPTH_FACTOR = 4
MIN_DEPTH = 40
# Where points of versions that are about to be removed take the places, it is read deeper still, up to here.
DEEPER = 4
MAX_DEPTH = 10_240


@dataclass(frozen=True, slots=True)
class Passage:
    """A visible chunk. ``score`` ranks it; the others say why: cosine and BM25, and the ranks (from 1) by each.

    None stands where that search did not propose it.
    """

    chunk_id: UUID
    document_id: UUID
    version_id: UUID
    title: str
    source: str
    text: str
    heading_path: tuple[str, ...]
    page: int | None
    score: float
    dense_score: float | None
    sparse_score: float | None
    dense_rank: int | None
    sparse_rank: int | None


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The passages, best first, and what each step took, in milliseconds."""

    passages: list[Passage]
    timings_ms: dict[str, float]


class Retriever:
    """Searches one collection of one tenant."""

    def __init__(self, database: Database, index: VectorIndex, embedder: Embedder, sparse: Bm25Encoder) -> None:
        self._database = database
        self._index = index
        self._embedder = embedder
        self._sparse = sparse

    async def search(self, scope: Scope, question: str, strategy: Strategy, top_k: int) -> Retrieval:
        """Find the ``top_k`` best visible passages.

        Raises:
            DependencyUnavailableError: the index or the database does not answer.
        """
        start = perf_counter()
        dense = await self._embedder.embed_query(question) if strategy is not Strategy.SPARSE else None
        sparse = self._sparse.query(question) if strategy is not Strategy.DENSE else None
        timings = {"embed": perf_counter() - start, "search": 0.0, "read": 0.0}
        depth = wanted = max(MIN_DEPTH, top_k * DEPTH_FACTOR)
        while True:
            start = perf_counter()
            proposed = await self._index.search(scope, dense, sparse, depth)
            searched = perf_counter()
            rows = await self._visible(scope, {hit.chunk_id for hits in proposed for hit in hits})
            timings["search"] += searched - start
            timings["read"] += perf_counter() - searched
            seen = [[hit for hit in hits if hit.chunk_id in rows][:wanted] for hits in proposed]
            whole = all(len(hits) < depth or len(kept) == wanted for hits, kept in zip(proposed, seen, strict=True))
            if whole or depth >= MAX_DEPTH:
                break
            depth *= DEEPER
        return Retrieval(
            _fused(rows, seen[0], seen[1], top_k), {step: seconds * 1000 for step, seconds in timings.items()}
        )

    async def _visible(self, scope: Scope, proposed: Collection[UUID]) -> Mapping[UUID, Any]:
        """Of the proposed chunks those of current versions in this tenant's collection."""
        if not proposed:
            return {}
        async with self._database.session(reading=True) as session:
            # Columns, not objects: most of what is read only decides what is visible.
            rows = await session.execute(
                select(
                    Chunk.id,
                    Chunk.document_id,
                    Chunk.version_id,
                    Document.title,
                    Document.source,
                    Chunk.text,
                    Chunk.heading_path,
                    Chunk.page,
                )
                .join(Document, Document.current_version_id == Chunk.version_id)
                .where(
                    Chunk.id.in_(proposed),
                    Document.tenant_id == scope.tenant_id,
                    Document.collection_id == scope.collection_id,
                )
            )
            return {row.id: row for row in rows}


def _fused(rows: Mapping[UUID, Any], dense: Sequence[Hit], sparse: Sequence[Hit], top_k: int) -> list[Passage]:
    """The best passages of both lists, which hold visible chunks only: what is gone moves nobody's rank."""
    by_meaning = {hit.chunk_id: (rank, hit.score) for rank, hit in enumerate(dense, start=1)}
    by_words = {hit.chunk_id: (rank, hit.score) for rank, hit in enumerate(sparse, start=1)}
    passages = []
    for chunk_id, score in reciprocal_rank_fusion([list(by_meaning), list(by_words)])[:top_k]:
        row = rows[chunk_id]
        dense_rank, cosine = by_meaning.get(chunk_id, (None, None))
        sparse_rank, bm25 = by_words.get(chunk_id, (None, None))
        passages.append(
            Passage(
                chunk_id=chunk_id,
                document_id=row.document_id,
                version_id=row.version_id,
                title=row.title,
                source=row.source,
                text=row.text,
                heading_path=tuple(row.heading_path),
                page=row.page,
                score=score,
                dense_score=cosine,
                sparse_score=bm25,
                dense_rank=dense_rank,
                sparse_rank=sparse_rank,
            )
        )
    return passages
