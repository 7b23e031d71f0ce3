"""``/feedback``: what readers thought of answers."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from sqlalchemy import select, tuple_

from app.api.deps import AdminPrincipal, QueryPrincipal, ServicesDep
from app.api.errors import PROBLEM_RESPONSES, problem_responses
from app.api.fields import NO_NUL, Cursor, Limit, read_cursor, write_cursor
from app.db.models import Feedback

router = APIRouter(prefix="/feedback", tags=["feedback"], responses=PROBLEM_RESPONSES)
Rating = Literal["up", "down"]
_VALUES: dict[Rating, int] = {"up": 1, "down": -1}
_RATINGS: dict[int, Rating] = {1: "up", -1: "down"}
_SENT: JsonDict = {
    "request_id": "4f0c1c0e9b7d4e0f",
    "rating": "down",
    "reason": "The fee is last year's.",
    "corrected_answer": "A berth costs 39 euros a night.",
}
_KEPT: JsonDict = {"id": "2d6f0e3c-9b1a-4d2e-8f7a-6c5b4a392817", **_SENT, "created_at": "2026-01-31T09:06:00Z"}


class NewFeedback(BaseModel):
    """What a reader thought of the answer that carried this request id."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_SENT]})
    request_id: str = Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")
    rating: Rating
    reason: str | None = Field(None, max_length=2000, pattern=NO_NUL)
    corrected_answer: str | None = Field(None, max_length=10_000, pattern=NO_NUL)


class FeedbackInfo(BaseModel):
    """A rating as it was kept."""

    model_config = ConfigDict(json_schema_extra={"examples": [_KEPT]})
    id: UUID
    request_id: str
    rating: Rating
    reason: str | None
    corrected_answer: str | None
    created_at: datetime


class FeedbackPage(BaseModel):
    """Ratings, newest first, and the cursor of the next page."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"feedback": [_KEPT], "next_cursor": None}]})
    feedback: list[FeedbackInfo]
    next_cursor: str | None


@router.post(
    "",
    status_code=201,
    summary="Rate an answer",
    responses=problem_responses(409) | {200: {"model": FeedbackInfo, "description": "It replaced a former rating."}},
)
async def create(
    body: NewFeedback, response: Response, services: ServicesDep, principal: QueryPrincipal
) -> FeedbackInfo:
    """201; said again for the same answer it replaces the former, with 200."""
    kept, first = await services.feedback.add(
        principal.tenant_id, body.request_id, _VALUES[body.rating], body.reason, body.corrected_answer
    )
    services.metrics.feedback.labels(body.rating).inc()
    if not first:
        response.status_code = 200
    return _info(kept)


@router.get("", summary="List ratings")
async def listing(
    services: ServicesDep,
    principal: AdminPrincipal,
    rating: Annotated[Rating | None, Query(description="Only these.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> FeedbackPage:
    """Newest first; hand ``next_cursor`` back for the next page."""
    query = (
        select(Feedback)
        .where(Feedback.tenant_id == principal.tenant_id)
        .order_by(Feedback.created_at.desc(), Feedback.id.desc())
        .limit(limit + 1)
    )
    if rating is not None:
        query = query.where(Feedback.rating == _VALUES[rating])
    if cursor is not None:
        query = query.where(tuple_(Feedback.created_at, Feedback.id) < tuple_(*read_cursor(cursor)))
    async with services.database.session(reading=True) as session:
        found = list(await session.scalars(query))
    page = found[:limit]
    following = write_cursor(page[-1].created_at, page[-1].id) if len(found) > limit else None
    return FeedbackPage(feedback=[_info(item) for item in page], next_cursor=following)


def _info(kept: Feedback) -> FeedbackInfo:
    return FeedbackInfo(
        id=kept.id,
        request_id=kept.request_id,
        rating=_RATINGS[kept.rating],
        reason=kept.reason,
        corrected_answer=kept.corrected_answer,
        created_at=kept.created_at,
    )
