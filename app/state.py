"""How the service and what it stands on are at this moment: for /ready, /metrics and `anchorage doctor`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from time import perf_counter
from typing import TypeVar

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from sqlalchemy import and_, case, func, or_, select

from app.cache.store import CacheStore
from app.db.models import Job, JobState, Session
from app.db.session import Database
from app.errors import DependencyUnavailableError
from app.vectors.protocols import VectorIndex

# Less than Prometheus waits for a scrape, all together.
CHECK_SECONDS = 2.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Parts:
    """What is looked at."""

    database: Database
    index: VectorIndex
    store: CacheStore


@dataclass(frozen=True, slots=True)
class Dependency:
    """Whether it answered in time, how fast, and whether questions need it."""

    up: bool
    latency_ms: float
    required: bool


@dataclass(frozen=True, slots=True)
class Queue:
    """Jobs by state; ``oldest_s`` is how long the first that may run has waited, 0 when none does."""

    jobs: dict[JobState, int]
    oldest_s: float


async def dependencies(parts: Parts) -> dict[str, Dependency]:
    """Each one by name."""
    checks: dict[str, tuple[Callable[[], Awaitable[None]], bool]] = {
        "postgres": (parts.database.check, True),
        "qdrant": (parts.index.check, True),
        "redis": (parts.store.check, False),
    }
    results = await asyncio.gather(*(_timed(check, required=required) for check, required in checks.values()))
    return dict(zip(checks, results, strict=True))


async def queue(database: Database) -> Queue:
    """Raises DependencyUnavailableError."""
    now = datetime.now(UTC)
    # A running job whose worker has gone silent waits too: since its lease ended.
    since = case((Job.state == JobState.QUEUED, Job.run_at), else_=Job.lease_until)
    due = or_(
        and_(Job.state == JobState.QUEUED, Job.run_at <= now),
        and_(Job.state == JobState.RUNNING, Job.lease_until < now),
    )
    async with database.session(reading=True) as session:
        rows = await session.execute(select(Job.state, func.count()).group_by(Job.state))
        counts = {JobState(state): count for state, count in rows}
        oldest = await session.scalar(select(since).where(due).order_by(since).limit(1))
    waited = (now - oldest).total_seconds() if oldest is not None else 0.0
    return Queue({state: counts.get(state, 0) for state in JobState}, waited)


async def active_sessions(database: Database) -> int:
    """Sessions that go on: something was asked, or they were begun, within SESSION_TIMEOUT_HOURS."""
    async with database.session(reading=True) as session:
        live = select(func.count()).select_from(Session).where(Session.expires_at > datetime.now(UTC))
        return await session.scalar(live) or 0


async def measured(parts: Parts, namespace: str, colour: str) -> list[Metric]:
    """What is read for a scrape. What can't be read in time is left out; ``dependency_up`` says why."""
    found, jobs, sessions, entries = await asyncio.gather(
        dependencies(parts),
        _in_time(queue(parts.database)),
        _in_time(active_sessions(parts.database)),
        _in_time(parts.store.size()),
    )
    made = [
        _gauge(f"{namespace}_build_info", "Which release this is", {"version": version("anchorage"), "colour": colour}),
        _gauges(
            f"{namespace}_dependency_up",
            "Whether a dependency answers, as /ready sees it",
            "dependency",
            {name: float(item.up) for name, item in found.items()},
        ),
    ]
    if jobs is not None:
        made += _of_queue(jobs, namespace)
    if sessions is not None:
        made.append(
            _gauge("active_sessions", "Sessions in which something was asked within SESSION_TIMEOUT_HOURS", sessions)
        )
    if entries is not None:
        made.append(
            _gauge(f"{namespace}_cache_entries", "Keys of the cache's store, streams' events among them", entries)
        )
    return made


def _of_queue(found: Queue, namespace: str) -> Sequence[Metric]:
    return (
        _gauges(
            f"{namespace}_ingestion_jobs",
            "Jobs in the database",
            "state",
            {state.value: float(count) for state, count in found.jobs.items()},
        ),
        _gauge(f"{namespace}_queue_oldest_seconds", "How long the first job that may run has waited", found.oldest_s),
        _gauge(f"{namespace}_dead_letters", "Jobs that failed for good", found.jobs[JobState.FAILED]),
    )


def _gauge(name: str, help_: str, value: float | dict[str, str]) -> Metric:
    """One value, or 1 with these labels."""
    if isinstance(value, dict):
        family = GaugeMetricFamily(name, help_, labels=list(value))
        family.add_metric(list(value.values()), 1)
        return family
    return GaugeMetricFamily(name, help_, value=value)


def _gauges(name: str, help_: str, label: str, values: dict[str, float]) -> Metric:
    family = GaugeMetricFamily(name, help_, labels=[label])
    for labelled, value in values.items():
        family.add_metric([labelled], value)
    return family


async def _in_time(reading: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await reading
    except (DependencyUnavailableError, OSError, TimeoutError):
        return None


async def _timed(check: Callable[[], Awaitable[None]], *, required: bool) -> Dependency:
    start = perf_counter()
    up = True
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            await check()
    except Exception:  # noqa: BLE001 - whatever it is, the dependency is not usable
        up = False
    return Dependency(up, round((perf_counter() - start) * 1000, 2), required)
