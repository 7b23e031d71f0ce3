"""Old records go, new ones and failed jobs stay."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db import retention
from app.db.bootstrap import DEFAULT_COLLECTION_ID, DEFAULT_TENANT_ID, bootstrap
from app.db.migrate import migrate
from app.db.models import Job, JobKind, JobState, QueryLogEntry
from app.db.retention import forget_old
from app.db.session import Database
from app.ingest.jobs import enqueue
from app.providers.protocols import EmbeddingIdentity

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def job(session: AsyncSession, state: JobState, days: int) -> None:
    made = enqueue(session, JobKind.REMOVE, DEFAULT_TENANT_ID, uuid4(), None, NOW)
    made.state, made.finished_at = state, NOW - timedelta(days=days)


def question(days: int) -> QueryLogEntry:
    return QueryLogEntry(
        request_id=uuid4().hex,
        tenant_id=DEFAULT_TENANT_ID,
        collection_id=DEFAULT_COLLECTION_ID,
        query=f"asked {days} days ago",
        grounded=True,
        provider="extractive",
        cache_status="miss",
        timings_ms={},
        created_at=NOW - timedelta(days=days),
    )


async def test_what_is_old_goes_in_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'a.db'}")
    await migrate(database)
    await bootstrap(database, EmbeddingIdentity("m", "1", 4, normalised=True))
    monkeypatch.setattr(retention, "BATCH", 2)
    async with database.session() as session:
        for days in (29, 31, 32, 33, 34, 35):
            job(session, JobState.SUCCEEDED, days)
        job(session, JobState.FAILED, 400)
        session.add_all([question(days) for days in (89, 91, 92, 93)])
    assert await forget_old(database, NOW, jobs=timedelta(days=30), queries=timedelta(days=90)) == 8
    async with database.session(reading=True) as session:
        assert sorted(await session.scalars(select(Job.state))) == ["failed", "succeeded"]
        assert (await session.scalars(select(QueryLogEntry.query))).all() == ["asked 89 days ago"]
    await database.close()
