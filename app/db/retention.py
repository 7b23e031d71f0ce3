"""What is kept for a time only: records of work that is done, and the query log."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, select

from app.db.models import Job, JobState, QueryLogEntry
from app.db.session import Database

BATCH = 1000


async def forget_old(database: Database, now: datetime, *, jobs: timedelta, queries: timedelta) -> int:
    """Delete what is older, some at a time so that nobody waits for it; returns how many rows went.

    Jobs that failed stay: they are what somebody has still to look at.
    """
    done = select(Job.id).where(Job.state == JobState.SUCCEEDED, Job.finished_at < now - jobs)
    asked = select(QueryLogEntry.request_id).where(QueryLogEntry.created_at < now - queries)
    gone = 0
    for table, key, old in ((Job, Job.id, done), (QueryLogEntry, QueryLogEntry.request_id, asked)):
        while True:
            async with database.session() as session:
                found = list(await session.scalars(old.limit(BATCH)))
                if found:
                    await session.execute(delete(table).where(key.in_(found)))
            gone += len(found)
            if len(found) < BATCH:
                break
    return gone
