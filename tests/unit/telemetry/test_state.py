"""What is read of the queue: how long the first job that may run has waited."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from app.db.bootstrap import DEFAULT_TENANT_ID, bootstrap
from app.db.migrate import migrate
from app.db.models import Job, JobKind, JobState
from app.db.session import Database
from app.providers.protocols import EmbeddingIdentity
from app.state import queue

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)


def job(now: datetime, state: JobState, run_at: timedelta, lease: timedelta | None = None) -> Job:
    return Job(
        id=uuid4(),
        tenant_id=DEFAULT_TENANT_ID,
        kind=JobKind.INDEX,
        document_id=uuid4(),
        state=state,
        attempts=1,
        run_at=now + run_at,
        lease_until=None if lease is None else now + lease,
        progress={},
        created_at=now - HOUR,
    )


@pytest.mark.parametrize(
    ("jobs", "oldest_s"),
    [
        ([], 0),
        ([(JobState.QUEUED, -MINUTE, None), (JobState.QUEUED, -HOUR, None)], 3600),
        # Those that wait for their next attempt, are being done, or are over, keep nobody waiting.
        ([(JobState.QUEUED, HOUR, None), (JobState.RUNNING, -HOUR, MINUTE), (JobState.FAILED, -HOUR, None)], 0),
        # One whose worker has gone silent does.
        ([(JobState.RUNNING, -HOUR, -MINUTE), (JobState.QUEUED, HOUR, None)], 60),
    ],
)
async def test_how_long_the_first_has_waited(
    tmp_path: Path, jobs: list[tuple[JobState, timedelta, timedelta | None]], oldest_s: float
) -> None:
    database = Database(f"sqlite+aiosqlite:///{tmp_path / 'queue.db'}")
    await migrate(database)
    await bootstrap(database, EmbeddingIdentity("none", "1", 8, normalised=True))
    now = datetime.now(UTC)
    async with database.session() as session:
        session.add_all(job(now, *item) for item in jobs)
    found = await queue(database)
    await database.close()
    assert found.oldest_s == pytest.approx(oldest_s, abs=5)
    assert sum(found.jobs.values()) == len(jobs)
