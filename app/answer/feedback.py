"""What readers thought of answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID, uuid4

from sqlalchemy import select

from app.answer.query_log import FLUSH_SECONDS, QueryLog
from app.db.models import Feedback, QueryLogEntry
from app.db.session import Database
from app.errors import ConflictError, NotFoundError

# Another worker may hold the record of the answer for as long as it collects them.
PATIENCE_SECONDS = 2 * FLUSH_SECONDS
POLL_SECONDS = 0.1


def utc_now() -> datetime:
    """The real clock; tests hand in another."""
    return datetime.now(UTC)


class FeedbackBook:
    """Takes down ratings of answers that are in the query log."""

    def __init__(self, database: Database, query_log: QueryLog | None, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._query_log = query_log
        self._clock = clock

    async def add(
        self, tenant_id: UUID, request_id: str, rating: int, reason: str | None, corrected_answer: str | None
    ) -> tuple[Feedback, bool]:
        """Keep a rating (1 or -1); said again, it replaces. Returns it, and whether it is the first.

        Raises:
            NotFoundError: this tenant asked no such question. ConflictError: questions are not logged here.
        """
        if self._query_log is None:
            raise ConflictError("Feedback needs the record of questions, which is off: ENABLE_QUERY_LOGGING is false.")
        await self._answered(self._query_log, tenant_id, request_id)
        async with self._database.session() as session:
            # Locked: of two at the same moment the second one replaces the first.
            await session.scalar(
                select(QueryLogEntry.request_id).where(QueryLogEntry.request_id == request_id).with_for_update()
            )
            kept = await session.scalar(
                select(Feedback).where(Feedback.tenant_id == tenant_id, Feedback.request_id == request_id)
            )
            first = kept is None
            if kept is None:
                kept = Feedback(id=uuid4(), tenant_id=tenant_id, request_id=request_id, created_at=self._clock())
                session.add(kept)
            kept.rating, kept.reason, kept.corrected_answer = rating, reason, corrected_answer
        return kept, first

    async def _answered(self, query_log: QueryLog, tenant_id: UUID, request_id: str) -> None:
        """Return when the question is in the log. Raises NotFoundError."""
        await query_log.flush()
        deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
        while True:
            async with self._database.session(reading=True) as session:
                found = await session.scalar(
                    select(QueryLogEntry.request_id).where(
                        QueryLogEntry.request_id == request_id, QueryLogEntry.tenant_id == tenant_id
                    )
                )
            if found is not None:
                return
            if asyncio.get_running_loop().time() >= deadline:
                raise NotFoundError(f"There is no answer with the request id {request_id!r}.")
            await asyncio.sleep(POLL_SECONDS)
