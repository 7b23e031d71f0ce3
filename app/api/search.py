"""``POST /search``: retrieval alone."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from app.api.deps import QueryPrincipal, ServicesDep
from app.api.errors import PROBLEM_RESPONSES
from app.api.query import Name, QueryText
from app.db.bootstrap import find_collection
from app.settings import Strategy
from app.vectors.protocols import Scope

router = APIRouter(tags=["questions"], responses=PROBLEM_RESPONSES)


class SearchRequest(BaseModel):
    """What to look for."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"query": "connection limits"}]})
    query: QueryText
    collection: Name | None = None
    top_k: int = Field(10, ge=1, le=100)
    strategy: Strategy | None = None


class PassageFound(BaseModel):
    """A passage, with the reasons for its rank: cosine and BM25, null where that search did not find it."""

    chunk_id: UUID
    document_id: UUID
    title: str
    source: str
    heading_path: list[str]
    page: int | None
    text: str
    score: float
    dense_score: float | None
    sparse_score: float | None
    dense_rank: int | None
    sparse_rank: int | None


class SearchResponse(BaseModel):
    """Passages, best first."""

    passages: list[PassageFound]
    timings_ms: dict[str, float]


@router.post("/search", summary="Find passages")
async def search(body: SearchRequest, services: ServicesDep, principal: QueryPrincipal) -> SearchResponse:
    """The passages that an answer would be made from."""
    settings = services.settings
    async with services.database.session(reading=True) as session:
        collection = await find_collection(session, principal.tenant_id, body.collection)
    found = await services.retriever.search(
        Scope(principal.tenant_id, collection.id),
        body.query,
        body.strategy or settings.default_retrieval_strategy,
        min(body.top_k, settings.max_retrieval_results),
    )
    passages = [
        PassageFound(
            chunk_id=p.chunk_id,
            document_id=p.document_id,
            title=p.title,
            source=p.source,
            heading_path=list(p.heading_path),
            page=p.page,
            text=p.text,
            score=p.score,
            dense_score=p.dense_score,
            sparse_score=p.sparse_score,
            dense_rank=p.dense_rank,
            sparse_rank=p.sparse_rank,
        )
        for p in found.passages
    ]
    return SearchResponse(passages=passages, timings_ms={k: round(v, 2) for k, v in found.timings_ms.items()})
