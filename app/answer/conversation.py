"""Conversations: what was asked before in a session. A session ends when nothing was asked in it for a while."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.answer.standalone import MAX_EXCHANGES, Exchange
from app.db.models import Session, Turn
from app.db.session import Database
from app.errors import DependencyUnavailableError, NotFoundError

log = structlog.get_logger(__name__)
SWEEP_SECONDS = 600.0


def utc_now() -> datetime:
    """The real clock; tests hand in another."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Conversation:
    """A session as a question finds it."""

    session_id: UUID
    collection_id: UUID
    history: Sequence[Exchange]


@dataclass(frozen=True, slots=True)
class Said:
    """A question and its answer, to be kept."""

    request_id: str
    question: str
    standalone: str
    answer: str
    grounded: bool
    citations: list[dict[str, Any]]


class Conversations:
    """Keeps sessions and their turns in the database."""

    def __init__(self, database: Database, timeout_hours: float, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._timeout = timedelta(hours=timeout_hours)
        self._clock = clock

    async def open(self, tenant_id: UUID, session_id: UUID) -> Conversation:
        """A session with its latest exchanges. Raises NotFoundError: there is none, or it has ended."""
        async with self._database.session(reading=True) as session:
            found = await self.find(session, tenant_id, session_id)
            turns = await session.scalars(
                select(Turn).where(Turn.session_id == session_id).order_by(Turn.position.desc()).limit(MAX_EXCHANGES)
            )
            history = [Exchange(turn.standalone, turn.answer) for turn in turns][::-1]
        return Conversation(found.id, found.collection_id, history)

    async def find(self, session: AsyncSession, tenant_id: UUID, session_id: UUID, *, lock: bool = False) -> Session:
        """A live session of the tenant. Raises NotFoundError."""
        query = select(Session).where(
            Session.id == session_id, Session.tenant_id == tenant_id, Session.expires_at > self._clock()
        )
        found = await session.scalar(query.with_for_update() if lock else query)
        if found is None:
            raise NotFoundError(f"There is no session {session_id}, or it has ended. Start another one.")
        return found

    async def start(self, tenant_id: UUID, collection_id: UUID) -> Session:
        """Make an empty session."""
        async with self._database.session() as session:
            return self._add(session, tenant_id, collection_id)

    async def say(self, tenant_id: UUID, collection_id: UUID, session_id: UUID | None, said: Said) -> UUID:
        """Keep a turn, and the session alive; None makes the session with it. Returns the session's id.

        Raises:
            NotFoundError: the session was deleted, or ended, meanwhile.
        """
        async with self._database.session() as session:
            if session_id is None:
                conversation = self._add(session, tenant_id, collection_id)
                await session.flush()
            else:
                conversation = await self.find(session, tenant_id, session_id, lock=True)
            last = await session.scalar(
                select(Turn.position).where(Turn.session_id == conversation.id).order_by(Turn.position.desc()).limit(1)
            )
            now = self._clock()
            conversation.expires_at = now + self._timeout
            session.add(
                Turn(
                    session_id=conversation.id,
                    position=(last or 0) + 1,
                    request_id=said.request_id,
                    question=said.question,
                    standalone=said.standalone,
                    answer=said.answer,
                    grounded=said.grounded,
                    citations=said.citations,
                    created_at=now,
                )
            )
            return conversation.id

    async def sweep(self) -> int:
        """Remove the sessions that have ended, with all that was said in them; how many."""
        async with self._database.session() as session:
            gone = await session.scalars(
                delete(Session).where(Session.expires_at <= self._clock()).returning(Session.id)
            )
            return len(gone.all())

    async def keep_swept(self, stopping: asyncio.Event) -> None:
        """Sweep now and then, until told to stop. Several processes may: what one removed, another doesn't find."""
        while not stopping.is_set():
            try:
                if swept := await self.sweep():
                    log.info("sessions.swept", sessions=swept)
            except DependencyUnavailableError as error:
                log.warning("sessions.not_swept", dependency=error.dependency)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SWEEP_SECONDS):
                    await stopping.wait()

    def _add(self, session: AsyncSession, tenant_id: UUID, collection_id: UUID) -> Session:
        now = self._clock()
        made = Session(
            id=uuid4(),
            tenant_id=tenant_id,
            collection_id=collection_id,
            created_at=now,
            expires_at=now + self._timeout,
        )
        session.add(made)
        return made
