"""From a question to ranked passages: the index proposes, the database decides what is visible, the stages rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import numpy as np

from app.db.session import Database
from app.providers.protocols import Embedder
from app.retrieval.candidates import Candidate, Dropped, RerankOutcome, Row, Stage, Standing
from app.retrieval.diversity import maximal_marginal_relevance
from app.retrieval.expansion import joined
from app.retrieval.fusion import scaled_scores
from app.retrieval.options import RetrievalOptions
from app.retrieval.ranking import Proposed, fuse, hidden_of, similar
from app.retrieval.rerank import RerankStep
from app.retrieval.visible import read_neighbours, read_visible
from app.settings import Strategy
from app.telemetry.traces import Step
from app.vectors.bm25 import Bm25Encoder
from app.vectors.protocols import Scope, Vector, VectorIndex

# Each list is read deeper than what is asked for: fusion gains from it.
DEPTH_FACTOR = 4
MIN_DEPTH = 40
# Where points of versions that are about to be removed take the places, it is read deeper still, up to here.
DEEPER = 4
MAX_DEPTH = 10_240
# So many of the best are weighed against each other for diversity.
MMR_CANDIDATES = 100


@dataclass(frozen=True, slots=True)
class Passage:
    """A visible chunk. ``score`` ranks it; the others say why: cosine and BM25, and the ranks (from 1) by each.

    None stands where that search did not propose it. With ``expand`` the ``text`` holds its neighbours too, the chunks
    from ``first`` to ``last`` of the version; the passage is cited by the chunk that was found.
    """

    chunk_id: UUID
    document_id: UUID
    version_id: UUID
    title: str
    source: str
    text: str
    heading_path: tuple[str, ...]
    page: int | None
    media_type: str
    score: float
    dense_score: float | None
    sparse_score: float | None
    dense_rank: int | None
    sparse_rank: int | None
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Retrieval:
    """The passages, best first, and what each step took, in milliseconds.

    ``candidates`` are all that were weighed, in the order of the last stage that each came to; ``rerank`` is None when
    no reranking was asked for.
    """

    passages: list[Passage]
    timings_ms: dict[str, float]
    candidates: list[Candidate] = field(default_factory=list)
    rerank: RerankOutcome | None = None

    @property
    def complete(self) -> bool:
        """Whether every stage that was asked for was done."""
        return self.rerank is None or self.rerank.applied


class Retriever:
    """Searches one collection of one tenant."""

    def __init__(
        self,
        database: Database,
        index: VectorIndex,
        embedder: Embedder,
        sparse: Bm25Encoder,
        rerank: RerankStep,
    ) -> None:
        self._database = database
        self._index = index
        self._embedder = embedder
        self._sparse = sparse
        self._rerank = rerank

    def key(self, options: RetrievalOptions) -> str:
        """What, beside documents and question, decides the outcome: equal keys, equal outcome."""
        return f"{options!r} {self._rerank.model if options.rerank else ''}"

    async def search(self, scope: Scope, question: str, options: RetrievalOptions) -> Retrieval:
        """Find the best visible passages.

        Raises:
            DependencyUnavailableError: the index or the database does not answer.
        """
        timings: dict[str, float] = {}
        with Step("embed", timings):
            dense = await self._embedder.embed_query(question) if options.strategy is not Strategy.SPARSE else None
        proposed = await self._propose(scope, question, dense, options, timings)
        candidates = fuse(proposed, options)
        cosines = await self._cosines(candidates, dense, options)
        ranked = similar(candidates, cosines, options)
        outcome = None
        if options.rerank:
            with Step("rerank", timings):
                ranked, outcome = await self._rerank.apply(question, ranked, options.top_k)
        if options.mmr_lambda is not None and ranked:
            with Step("mmr", timings):
                ranked = await self._diverse(ranked, options.mmr_lambda, options.top_k)
        chosen = ranked[: options.top_k]
        for candidate in ranked[options.top_k :]:
            candidate.dropped = Dropped.TOP_K
        if options.expand:
            with Step("expand", timings):
                passages = await self._expanded(scope, chosen, options.expand)
        else:
            passages = [_passage(candidate, [candidate.visible]) for candidate in chosen]
        unlike = [c for c in candidates if c.dropped in (Dropped.THRESHOLD, Dropped.MIN_SIMILARITY)]
        return Retrieval(
            passages,
            timings,
            [*ranked, *unlike, *proposed.hidden],
            outcome,
        )

    async def _propose(
        self, scope: Scope, question: str, dense: Vector | None, options: RetrievalOptions, timings: dict[str, float]
    ) -> Proposed:
        """Both searches, and what of them is visible: deeper while what is not takes the places."""
        sparse = self._sparse.query(question) if options.strategy is not Strategy.DENSE else None
        depth = wanted = max(MIN_DEPTH, options.top_k * DEPTH_FACTOR)
        while True:
            with Step("search", timings):
                proposed = await self._index.search(scope, dense, sparse, depth, options.filters)
            ids = {hit.chunk_id for hits in proposed for hit in hits}
            with Step("read", timings):
                rows = await read_visible(self._database, scope, ids, options.filters)
            seen = [[hit for hit in hits if hit.chunk_id in rows][:wanted] for hits in proposed]
            whole = all(len(hits) < depth or len(kept) == wanted for hits, kept in zip(proposed, seen, strict=True))
            if whole or depth >= MAX_DEPTH:
                return Proposed(rows, seen[0], seen[1], hidden_of(proposed, rows))
            depth *= DEEPER

    async def _cosines(
        self, candidates: Sequence[Candidate], dense: Vector | None, options: RetrievalOptions
    ) -> dict[UUID, float]:
        """The cosine of each candidate that the search by meaning proposed; of all where that decides."""
        known = {c.chunk_id: cosine for c in candidates if (cosine := c.score(Stage.DENSE)) is not None}
        others = [c.chunk_id for c in candidates if c.chunk_id not in known]
        # What that search did not propose is farther from the question than all that it did.
        if dense is None or not others or not 0 < options.min_similarity <= min(known.values(), default=0.0):
            return known
        vectors = await self._index.vectors(others)
        return known | {chunk_id: float(vector @ dense) for chunk_id, vector in vectors.items()}

    async def _diverse(self, ranked: Sequence[Candidate], mix: float, top_k: int) -> list[Candidate]:
        """The ``top_k`` that are relevant and unlike each other, then the others in their order."""
        pool = list(ranked[: max(MMR_CANDIDATES, top_k)])
        if any(Stage.RERANK in candidate.standings for candidate in pool):
            # Scores of two stages can't be compared; a reranker sees more candidates than are asked for.
            pool = [candidate for candidate in pool if Stage.RERANK in candidate.standings]
        vectors = await self._index.vectors([candidate.chunk_id for candidate in pool])
        # One whose point has just been removed can't be compared; it stays behind.
        pool = [candidate for candidate in pool if candidate.chunk_id in vectors]
        if not pool:
            return list(ranked)
        relevance = [score for _, score in scaled_scores([(n, c.final_score) for n, c in enumerate(pool)])]
        matrix = np.stack([vectors[candidate.chunk_id] for candidate in pool])
        chosen = []
        for rank, (position, score) in enumerate(maximal_marginal_relevance(relevance, matrix, mix, top_k), start=1):
            pool[position].standings[Stage.MMR] = Standing(rank, score)
            chosen.append(pool[position])
        return [*chosen, *(candidate for candidate in ranked if Stage.MMR not in candidate.standings)]

    async def _expanded(self, scope: Scope, chosen: Sequence[Candidate], reach: int) -> list[Passage]:
        """Passages with their neighbours; a chunk that a better passage took in is not said again."""
        runs = await read_neighbours(self._database, scope, [candidate.visible for candidate in chosen], reach)
        passages: list[Passage] = []
        taken: dict[UUID, UUID] = {}
        for candidate in chosen:
            if candidate.chunk_id in taken:
                candidate.dropped, candidate.merged_into = Dropped.MERGED, taken[candidate.chunk_id]
                continue
            run = _untaken(runs[candidate.chunk_id], candidate.chunk_id, taken)
            taken |= {row.chunk_id: candidate.chunk_id for row in run}
            passages.append(_passage(candidate, run))
        return passages


def _untaken(run: Sequence[Row], hit: UUID, taken: Mapping[UUID, UUID]) -> list[Row]:
    """The part of the run around the hit up to what other passages hold already."""
    at = next(index for index, row in enumerate(run) if row.chunk_id == hit)
    first, last = at, at
    while first > 0 and run[first - 1].chunk_id not in taken:
        first -= 1
    while last + 1 < len(run) and run[last + 1].chunk_id not in taken:
        last += 1
    return list(run[first : last + 1])


def _passage(candidate: Candidate, run: Sequence[Row]) -> Passage:
    row = candidate.visible
    dense, sparse = candidate.standings.get(Stage.DENSE), candidate.standings.get(Stage.SPARSE)
    return Passage(
        chunk_id=row.chunk_id,
        document_id=row.document_id,
        version_id=row.version_id,
        title=row.title,
        source=row.source,
        text=joined([part.text for part in run]),
        heading_path=row.heading_path,
        page=row.page,
        media_type=row.media_type.split(";")[0],
        score=candidate.final_score,
        dense_score=None if dense is None else dense.score,
        sparse_score=None if sparse is None else sparse.score,
        dense_rank=None if dense is None else dense.rank,
        sparse_rank=None if sparse is None else sparse.rank,
        first=run[0].position,
        last=run[-1].position,
    )
