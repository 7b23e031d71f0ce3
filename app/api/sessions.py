"""``/sessions``: conversations, whose questions may lean on what was said before."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from sqlalchemy import select, tuple_

from app.answer.conversation import utc_now
from app.api.deps import AdminPrincipal, QueryPrincipal, ServicesDep
from app.api.errors import PROBLEM_RESPONSES
from app.api.fields import Cursor, Limit, Name, read_cursor, write_cursor
from app.db.bootstrap import find_collection
from app.db.models import Collection, Session, Turn

router = APIRouter(prefix="/sessions", tags=["sessions"], responses=PROBLEM_RESPONSES)
_SESSION: JsonDict = {
    "id": "7a1b6c1e-62a5-4a57-9d38-0d7d3b6c2f11",
    "collection": "default",
    "created_at": "2026-01-31T09:00:00Z",
    "expires_at": "2026-02-01T09:05:00Z",
}
_TURN: JsonDict = {
    "position": 2,
    "request_id": "4f0c1c0e9b7d4e0f",
    "question": "And for longer boats?",
    "standalone": "How much does a berth cost for boats over twelve metres?",
    "answer": "Longer boats pay 51 euros [1].",
    "grounded": True,
    "citations": [
        {
            "number": 1,
            "document_id": "0a6f5f5e-6f0c-4c53-8f0a-3a1f7d1d9b01",
            "chunk_id": "b3b0f6a2-4f43-5d6e-8a35-1f2e3d4c5b6a",
            "title": "Harbour manual",
            "source": "harbour.md",
            "page": None,
            "snippet": "Longer boats pay 51 euros.",
            "score": 0.033,
        }
    ],
    "created_at": "2026-01-31T09:05:00Z",
}


class NewSession(BaseModel):
    """A conversation to begin."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"collection": "default"}]})
    collection: Name | None = Field(None, description="Which documents it asks; the default collection if absent.")


class SessionInfo(BaseModel):
    """A conversation; it ends at ``expires_at`` unless something is asked before."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SESSION]})
    id: UUID
    collection: str
    created_at: datetime
    expires_at: datetime


class TurnInfo(BaseModel):
    """A question and its answer; ``standalone`` is the question as it was looked up."""

    position: int
    request_id: str
    question: str
    standalone: str
    answer: str
    grounded: bool
    citations: list[dict[str, Any]]
    created_at: datetime


class SessionHistory(SessionInfo):
    """What was said, latest last; ``earlier`` turns came before those."""

    model_config = ConfigDict(json_schema_extra={"examples": [_SESSION | {"turns": [_TURN], "earlier": 1}]})
    turns: list[TurnInfo]
    earlier: int


class SessionPage(BaseModel):
    """Live sessions, newest first, and the cursor of the next page."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sessions": [_SESSION], "next_cursor": None}]})
    sessions: list[SessionInfo]
    next_cursor: str | None


@router.post("", status_code=201, summary="Begin a session")
async def create(services: ServicesDep, principal: QueryPrincipal, body: NewSession) -> SessionInfo:
    """Name it in questions by ``session_id``. A question with ``session: true`` makes one as well."""
    async with services.database.session(reading=True) as session:
        collection = await find_collection(session, principal.tenant_id, body.collection)
    return _info(await services.conversations.start(principal.tenant_id, collection.id), collection.name)


@router.get("", summary="List sessions")
async def listing(
    services: ServicesDep, principal: AdminPrincipal, limit: Limit = 50, cursor: Cursor = None
) -> SessionPage:
    """Those that have not ended, newest first. Whoever holds a session's id may read it; this list is for admins."""
    query = (
        select(Session, Collection.name)
        .join(Collection, Collection.id == Session.collection_id)
        .where(Session.tenant_id == principal.tenant_id, Session.expires_at > utc_now())
        .order_by(Session.created_at.desc(), Session.id.desc())
        .limit(limit + 1)
    )
    if cursor is not None:
        query = query.where(tuple_(Session.created_at, Session.id) < tuple_(*read_cursor(cursor)))
    async with services.database.session(reading=True) as session:
        found = [(row, name) for row, name in await session.execute(query)]
    page = found[:limit]
    following = write_cursor(page[-1][0].created_at, page[-1][0].id) if len(found) > limit else None
    return SessionPage(sessions=[_info(row, name) for row, name in page], next_cursor=following)


@router.get("/{session_id}", summary="What was said in a session")
async def one(
    session_id: UUID,
    services: ServicesDep,
    principal: QueryPrincipal,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many of the latest turns.")] = 100,
) -> SessionHistory:
    """Its questions and answers. 404 when it has ended."""
    async with services.database.session(reading=True) as session:
        found = await services.conversations.find(session, principal.tenant_id, session_id)
        collection = await session.get_one(Collection, found.collection_id)
        turns = list(
            await session.scalars(
                select(Turn).where(Turn.session_id == session_id).order_by(Turn.position.desc()).limit(limit)
            )
        )[::-1]
    return SessionHistory(
        **_info(found, collection.name).model_dump(),
        turns=[TurnInfo.model_validate(turn, from_attributes=True) for turn in turns],
        earlier=turns[0].position - 1 if turns else 0,
    )


@router.delete("/{session_id}", status_code=204, summary="End a session", response_class=Response)
async def delete(session_id: UUID, services: ServicesDep, principal: QueryPrincipal) -> None:
    """All that was said in it is removed."""
    async with services.database.session() as session:
        await session.delete(await services.conversations.find(session, principal.tenant_id, session_id, lock=True))


def _info(session: Session, collection: str) -> SessionInfo:
    return SessionInfo(
        id=session.id, collection=collection, created_at=session.created_at, expires_at=session.expires_at
    )
