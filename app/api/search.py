"""``POST /search``: retrieval alone."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.api.deps import QueryPrincipal, ServicesDep
from app.api.errors import PROBLEM_RESPONSES
from app.api.query import Name, QueryText
from app.api.retrieval import RetrievalFields
from app.backends import retrieval_defaults
from app.db.bootstrap import find_collection
from app.db.collection_settings import CollectionSettings
from app.retrieval.candidates import Candidate, Dropped, Stage
from app.retrieval.options import RetrievalOptions
from app.retrieval.search import Passage, Retrieval
from app.settings import Fusion, Strategy
from app.vectors.protocols import Scope

router = APIRouter(tags=["questions"], responses=PROBLEM_RESPONSES)
# A person who looks wants to see also what an answer would be refused for.
DEFAULT_TOP_K, DEFAULT_THRESHOLD = 10, 0.0


class SearchRequest(RetrievalFields):
    """What to look for."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"query": "connection limits", "filters": {"year": {"gte": 2020}}}]},
    )
    query: QueryText
    collection: Name | None = None
    explain: bool = Field(
        False, description="Also say where each candidate stood at every stage, and why it was dropped."
    )


class PassageFound(BaseModel):
    """A passage, with the reasons for its rank: cosine and BM25, null where that search did not find it.

    With `expand`, `text` holds the chunks from position `first` to `last` of its document; `chunk_id` is the one that
    was found.
    """

    chunk_id: UUID
    document_id: UUID
    title: str
    source: str
    heading_path: list[str]
    page: int | None
    media_type: str
    text: str
    first: int
    last: int
    score: float
    dense_score: float | None
    sparse_score: float | None
    dense_rank: int | None
    sparse_rank: int | None


class StandingInfo(BaseModel):
    """A rank (from 1), and the score that gave it: a cosine, BM25, or the stage's own."""

    rank: int
    score: float


class CandidateInfo(BaseModel):
    """Where a candidate stood at each stage that it came to; `dropped` says why it is not among the passages."""

    chunk_id: UUID
    document_id: UUID | None
    title: str | None
    stages: dict[Stage, StandingInfo]
    dropped: Dropped | None
    merged_into: UUID | None


class RerankInfo(BaseModel):
    """Whether the reranker did its work, and if not, why."""

    applied: bool
    model: str | None
    reason: str | None


class Explanation(BaseModel):
    """How the passages were found: the settings that held, and every candidate in the order it ended in."""

    strategy: Strategy
    fusion: Fusion | None
    weights: dict[str, float] | None
    top_k: int
    threshold: float
    min_similarity: float
    mmr_lambda: float | None
    expand: int
    rerank: RerankInfo | None
    candidates: list[CandidateInfo]


class SearchResponse(BaseModel):
    """Passages, best first; `reranked: false` where that was asked for and could not be done."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "passages": [
                        {
                            "chunk_id": "b3b0f6a2-4f43-5d6e-8a35-1f2e3d4c5b6a",
                            "document_id": "0a6f5f5e-6f0c-4c53-8f0a-3a1f7d1d9b01",
                            "title": "Harbour manual",
                            "source": "harbour.md",
                            "heading_path": ["Harbour manual", "Mooring fees"],
                            "page": None,
                            "media_type": "text/markdown",
                            "text": "A berth costs 34 euros a night for boats up to twelve metres.",
                            "score": 0.033,
                            "dense_score": 0.71,
                            "sparse_score": 4.2,
                            "dense_rank": 1,
                            "sparse_rank": 1,
                        }
                    ],
                    "timings_ms": {"embed": 6.1, "search": 2.0, "read": 1.1},
                }
            ]
        }
    )
    passages: list[PassageFound]
    reranked: bool | None
    explanation: Explanation | None
    timings_ms: dict[str, float]


@router.post("/search", summary="Find passages")
async def search(body: SearchRequest, services: ServicesDep, principal: QueryPrincipal) -> SearchResponse:
    """The passages that an answer would be made from. No threshold holds here but one that is asked for."""
    wishes = body.wishes()
    async with services.database.session(reading=True) as session:
        collection = await find_collection(session, principal.tenant_id, body.collection)
    own = replace(CollectionSettings.read(collection.settings), threshold=None)
    defaults = replace(retrieval_defaults(services.settings), top_k=DEFAULT_TOP_K, threshold=DEFAULT_THRESHOLD)
    options = wishes.options(defaults, own, services.settings.max_retrieval_results)
    found = await services.retriever.search(Scope(principal.tenant_id, collection.id), body.query, options)
    return SearchResponse(
        passages=[_passage(passage) for passage in found.passages],
        reranked=None if found.rerank is None else found.rerank.applied,
        explanation=_explanation(found, options) if body.explain else None,
        timings_ms={step: round(value, 2) for step, value in found.timings_ms.items()},
    )


def _passage(passage: Passage) -> PassageFound:
    return PassageFound(
        chunk_id=passage.chunk_id,
        document_id=passage.document_id,
        title=passage.title,
        source=passage.source,
        heading_path=list(passage.heading_path),
        page=passage.page,
        media_type=passage.media_type,
        text=passage.text,
        first=passage.first,
        last=passage.last,
        score=passage.score,
        dense_score=passage.dense_score,
        sparse_score=passage.sparse_score,
        dense_rank=passage.dense_rank,
        sparse_rank=passage.sparse_rank,
    )


def _explanation(found: Retrieval, options: RetrievalOptions) -> Explanation:
    hybrid = options.strategy is Strategy.HYBRID
    rerank = None
    if found.rerank is not None:
        rerank = RerankInfo(applied=found.rerank.applied, model=found.rerank.model, reason=found.rerank.reason)
    return Explanation(
        strategy=options.strategy,
        fusion=options.fusion if hybrid else None,
        weights={"dense": options.weights.dense, "sparse": options.weights.sparse} if hybrid else None,
        top_k=options.top_k,
        threshold=options.threshold,
        min_similarity=options.min_similarity,
        mmr_lambda=options.mmr_lambda,
        expand=options.expand,
        rerank=rerank,
        candidates=[_candidate(candidate) for candidate in found.candidates],
    )


def _candidate(candidate: Candidate) -> CandidateInfo:
    return CandidateInfo(
        chunk_id=candidate.chunk_id,
        document_id=None if candidate.row is None else candidate.row.document_id,
        title=None if candidate.row is None else candidate.row.title,
        stages={stage: StandingInfo(rank=at.rank, score=at.score) for stage, at in candidate.standings.items()},
        dropped=candidate.dropped,
        merged_into=candidate.merged_into,
    )
