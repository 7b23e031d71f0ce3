"""``/cache``: how often answers came from it, and how to empty it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select, update

from app.api.deps import AdminPrincipal, QueryPrincipal, ServicesDep
from app.api.errors import PROBLEM_RESPONSES
from app.api.fields import Name
from app.db.bootstrap import find_collection
from app.db.models import Collection, QueryLogEntry

router = APIRouter(prefix="/cache", tags=["cache"], responses=PROBLEM_RESPONSES)


class CacheStats(BaseModel):
    """Of the questions that the query log holds; what asked for no cache (``bypass``) counts for no rate."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"hours": 24, "questions": 1200, "exact": 410, "miss": 730, "bypass": 60, "hit_rate": 0.36}]
        }
    )
    hours: int
    questions: int
    exact: int
    miss: int
    bypass: int
    hit_rate: float | None = Field(description="Hits among hits and misses; null when there were none.")


class Emptied(BaseModel):
    """Collections none of whose answers is served from the cache any more."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"collections": 1}]})
    collections: int


@router.get("/stats", summary="How often the cache answered")
async def stats(
    services: ServicesDep,
    principal: QueryPrincipal,
    hours: Annotated[int, Query(ge=1, le=24 * 90, description="Of the last so many hours.")] = 24,
) -> CacheStats:
    """Of this tenant's questions, over all workers."""
    since = datetime.now(UTC) - timedelta(hours=hours)
    async with services.database.session(reading=True) as session:
        rows = await session.execute(
            select(QueryLogEntry.cache_status, func.count())
            .where(QueryLogEntry.tenant_id == principal.tenant_id, QueryLogEntry.created_at >= since)
            .group_by(QueryLogEntry.cache_status)
        )
        found: dict[str, int] = {status: count for status, count in rows}  # noqa: C416 - rows are no pairs to mypy
    exact, miss = found.get("exact", 0), found.get("miss", 0)
    return CacheStats(
        hours=hours,
        questions=sum(found.values()),
        exact=exact,
        miss=miss,
        bypass=found.get("bypass", 0),
        hit_rate=round(exact / (exact + miss), 4) if exact + miss else None,
    )


@router.delete("", summary="Empty the cache")
async def empty(
    services: ServicesDep,
    principal: AdminPrincipal,
    collection: Annotated[Name | None, Query(description="Only of this one; all of the tenant's if absent.")] = None,
) -> Emptied:
    """Raises the collections' epoch, which every cached answer carries: at once, and on every host."""
    async with services.database.session() as session:
        chosen = update(Collection).where(Collection.tenant_id == principal.tenant_id)
        if collection is not None:
            found = await find_collection(session, principal.tenant_id, collection)
            chosen = chosen.where(Collection.id == found.id)
        raised = await session.execute(chosen.values(epoch=Collection.epoch + 1).returning(Collection.id))
        return Emptied(collections=len(raised.all()))
