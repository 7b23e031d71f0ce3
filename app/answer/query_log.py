"""The record of answered questions, written in batches beside the answers: no question waits for its own record."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import Any

import structlog
from sqlalchemy.dialects import postgresql, sqlite

from app.db.models import QueryLogEntry
from app.db.session import Database
from app.errors import DependencyUnavailableError

log = structlog.get_logger(__name__)
FLUSH_SECONDS = 0.5
MAX_WAITING = 5_000


class QueryLog:
    """Holds entries for at most ``FLUSH_SECONDS``; a killed process loses those, a stopped one none.

    While the database is away ``MAX_WAITING`` entries are kept; what is more is lost.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: deque[dict[str, Any]] = deque(maxlen=MAX_WAITING)
        self._writer: asyncio.Task[None] | None = None

    def add(self, values: dict[str, Any]) -> None:
        """Take the columns of one ``QueryLogEntry``."""
        self._waiting.append(values)
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_often())

    async def flush(self) -> None:
        """Write what waits. Raises DependencyUnavailableError, and then keeps it."""
        batch = list(self._waiting)
        if not batch:
            return
        self._waiting.clear()
        insert = sqlite.insert if self._database.is_sqlite else postgresql.insert
        try:
            async with self._database.session() as session:
                # A client may send the same request id twice: the first one stays, whoever sent it.
                await session.execute(insert(QueryLogEntry).on_conflict_do_nothing(), batch)
        except BaseException:
            self._waiting.extendleft(reversed(batch))
            raise

    async def close(self) -> None:
        """Write what waits, if the database answers."""
        if self._writer is not None:
            self._writer.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._writer
            self._writer = None
        await self._try_flush()

    async def _write_often(self) -> None:
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self._try_flush()

    async def _try_flush(self) -> None:
        try:
            await self.flush()
        except DependencyUnavailableError:
            log.warning("query_log.waiting", entries=len(self._waiting))
