"""From a question to ranked passages: the index proposes, the database decides what is visible."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from uuid import UUID

from sqlalchemy import select

from app.db.models import Chunk, Document
from app.db.session import Database
from app.providers.protocols import Embedder
from app.retrieval.fusion import reciprocal_rank_fusion
from app.settings import Strategy
from app.vectors.bm25 import Bm25Encoder
from app.vectors.protocols import Hit, Scope, VectorIndex

# Each list is read deeper than what is asked for: fusion gains from it, and points of versions that are
# about to be removed take places.
DEPTH_FACTOR = 4
MIN_DEPTH = 40


@dataclass(frozen=True, slots=True)
class Passage:
    """A visible chunk. ``score`` ranks it; the others say why: cosine and BM25, None where not proposed."""

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


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The passages, best first, and what each step took, in milliseconds."""

    passages: list[Passage]
    timings_ms: dict[str, float]

    @property
    def best_similarity(self) -> float | None:
        """Highest cosine among the passages; None when there was no search by meaning."""
        return max((p.dense_score for p in self.passages if p.dense_score is not None), default=None)


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
        embedded = perf_counter()
        depth = max(MIN_DEPTH, top_k * DEPTH_FACTOR)
        by_meaning, by_words = await self._index.search(scope, dense, sparse, depth)
        searched = perf_counter()
        passages = await self._visible(scope, by_meaning, by_words, top_k)
        read = perf_counter()
        timings = {"embed": embedded - start, "search": searched - embedded, "read": read - searched}
        return Retrieval(passages, {step: seconds * 1000 for step, seconds in timings.items()})

    async def _visible(self, scope: Scope, dense: Sequence[Hit], sparse: Sequence[Hit], top_k: int) -> list[Passage]:
        """Keep, in fused order, the chunks of current versions of this tenant's collection."""
        cosine = {hit.chunk_id: hit.score for hit in dense}
        bm25 = {hit.chunk_id: hit.score for hit in sparse}
        ranked = reciprocal_rank_fusion([list(cosine), list(bm25)])
        if not ranked:
            return []
        async with self._database.session(reading=True) as session:
            rows = await session.execute(
                select(Chunk, Document.title, Document.source)
                .join(Document, Document.current_version_id == Chunk.version_id)
                .where(
                    Chunk.id.in_([chunk_id for chunk_id, _ in ranked]),
                    Document.tenant_id == scope.tenant_id,
                    Document.collection_id == scope.collection_id,
                )
            )
            found = {chunk.id: (chunk, title, source) for chunk, title, source in rows}
        passages: list[Passage] = []
        for chunk_id, score in ranked:
            if chunk_id in found and len(passages) < top_k:
                chunk, title, source = found[chunk_id]
                passages.append(
                    Passage(
                        chunk_id,
                        chunk.document_id,
                        chunk.version_id,
                        title,
                        source,
                        chunk.text,
                        tuple(chunk.heading_path),
                        chunk.page,
                        score,
                        cosine.get(chunk_id),
                        bm25.get(chunk_id),
                    )
                )
        return passages
