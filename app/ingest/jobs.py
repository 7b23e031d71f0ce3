"""The queue of work on documents: a table, leases that run out, and tokens that fence the late."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from sqlalchemy import and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import Document, DocumentVersion, Job, JobKind, JobState, VersionState
from app.db.session import Database
from app.errors import (
    AnchorageError,
    ConflictError,
    DependencyUnavailableError,
    DocumentError,
    ErrorCode,
    NotFoundError,
    UnsupportedMediaTypeError,
)
from app.telemetry.context import origin

Clock = Callable[[], datetime]
FIRST_RETRY_SECONDS = 2.0
LAST_RETRY_SECONDS = 120.0
# A key of Job.progress: how often the job had to wait for a dependency. Such attempts don't count: an outage of any
# length must lose no document.
WAITS = "waits"
ACCEPTED = "accepted"


def utc_now() -> datetime:
    """The real clock; tests hand in another."""
    return datetime.now(UTC)


class LeaseLostError(Exception):
    """Another worker took the job over; what this one did must leave no trace."""


class JobCancelledError(Exception):
    """Somebody asked for this job to end."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A job in hand. Every write for it must prove that ``token`` is still the job's."""

    job_id: UUID
    token: UUID
    tenant_id: UUID
    kind: JobKind
    document_id: UUID
    version_id: UUID | None
    attempts: int
    request_id: str | None = None
    traceparent: str | None = None


def enqueue(
    session: AsyncSession, kind: JobKind, tenant_id: UUID, document_id: UUID, version_id: UUID | None, now: datetime
) -> Job:
    """Put a job into the caller's transaction: it exists exactly if that one commits."""
    request_id, traceparent = origin()
    job = Job(
        id=uuid4(),
        tenant_id=tenant_id,
        kind=kind,
        document_id=document_id,
        version_id=version_id,
        state=JobState.QUEUED,
        stage=ACCEPTED,
        attempts=0,
        run_at=now,
        cancel_requested=False,
        progress={},
        request_id=request_id,
        traceparent=traceparent,
        created_at=now,
    )
    session.add(job)
    return job


async def hold(session: AsyncSession, claim: Claim, *, even_if_cancelled: bool = False) -> Job:
    """Lock the claimed job in this transaction.

    Raises:
        LeaseLostError: it is no longer this worker's.
        JobCancelledError: it shall end.
    """
    job = await session.scalar(
        select(Job).where(Job.id == claim.job_id, Job.lease_token == claim.token).with_for_update()
    )
    if job is None:
        raise LeaseLostError
    if job.cancel_requested and not even_if_cancelled:
        raise JobCancelledError
    return job


def advance(job: Job, stage: str, done: int, total: int) -> None:
    """Record in a held job how many of how many parts of a stage are done."""
    job.stage = stage
    job.progress = {**job.progress, stage: {"done": done, "total": total}}


def finish(job: Job, now: datetime) -> None:
    """Mark a held job as done."""
    job.state, job.stage, job.finished_at = JobState.SUCCEEDED, "done", now
    job.error_code = job.error_detail = None
    job.lease_token = job.lease_until = None


class Queue:
    """Claims, leases and outcomes."""

    def __init__(self, database: Database, lease_s: float, max_attempts: int, clock: Clock = utc_now) -> None:
        self._database = database
        self.lease = timedelta(seconds=lease_s)
        self._max_attempts = max_attempts
        self._clock = clock
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """End the ``rest`` of the workers in this process: there may be something to do."""
        self._woken.set()

    async def rest(self, seconds: float) -> None:
        """Return when these are over, or after a ``wake`` since the last ``claim`` began."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._woken.wait(), seconds)

    async def claim(self) -> Claim | None:
        """Take the job that has waited longest, or one whose worker has gone silent."""
        self._woken.clear()
        now = self._clock()
        due = or_(
            and_(Job.state == JobState.QUEUED, Job.run_at <= now),
            and_(Job.state == JobState.RUNNING, Job.lease_until < now),
        )
        async with self._database.session() as session:
            next_due = select(Job).where(due).order_by(Job.run_at).limit(1).with_for_update(skip_locked=True)
            job = await session.scalar(next_due)
            while job is not None and job.attempts >= self._max_attempts:
                # Each of its workers died over it; one more would too.
                detail = f"{job.attempts} workers ended while doing this job, in stage {job.stage!r}."
                await _set_aside(session, job, JobState.FAILED, ErrorCode.INTERNAL_ERROR, detail, now)
                await session.flush()
                job = await session.scalar(next_due)
            if job is None:
                return None
            job.state, job.lease_token, job.lease_until = JobState.RUNNING, uuid4(), now + self.lease
            job.attempts += 1
            if job.kind == JobKind.INDEX and job.stage == ACCEPTED:
                advance(job, "parse", 0, 1)
            return Claim(
                job.id,
                job.lease_token,
                job.tenant_id,
                JobKind(job.kind),
                job.document_id,
                job.version_id,
                job.attempts,
                job.request_id,
                job.traceparent,
            )

    async def renew(self, claim: Claim) -> None:
        """Say that the worker lives. Raises LeaseLostError, JobCancelledError."""
        async with self._database.session() as session:
            (await hold(session, claim)).lease_until = self._clock() + self.lease

    async def hand_back(self, claim: Claim) -> None:
        """Release a job unfinished, at once and without counting the attempt."""
        async with self._database.session() as session:
            job = await hold(session, claim, even_if_cancelled=True)
            job.attempts -= 1
            _queue_again(job, self._clock())

    async def failed(self, claim: Claim, error: Exception) -> JobState:
        """Retry later what may pass; give up on what won't, with the reason. The state that the job is in now."""
        code, detail = reason(error)
        now = self._clock()
        async with self._database.session() as session:
            job = await hold(session, claim, even_if_cancelled=True)
            if job.cancel_requested:
                await _cancel(session, job, now)
                return JobState.CANCELLED
            waiting = isinstance(error, DependencyUnavailableError)
            hopeless = (
                isinstance(error, DocumentError | UnsupportedMediaTypeError) or job.attempts >= self._max_attempts
            )
            if hopeless and not waiting:
                await _set_aside(session, job, JobState.FAILED, code, detail, now)
                return JobState.FAILED
            if waiting:
                job.attempts -= 1
                job.progress = {**job.progress, WAITS: job.progress.get(WAITS, 0) + 1}
            tries = job.progress.get(WAITS, 0) + job.attempts
            delay = min(FIRST_RETRY_SECONDS * 2 ** min(tries - 1, 10), LAST_RETRY_SECONDS)
            job.error_code, job.error_detail = code, detail
            _queue_again(job, now + timedelta(seconds=delay))
            return JobState.QUEUED

    async def cancelled(self, claim: Claim) -> None:
        """End a job as was asked for."""
        async with self._database.session() as session:
            await _cancel(session, await hold(session, claim, even_if_cancelled=True), self._clock())

    async def cancel(self, tenant_id: UUID, job_id: UUID) -> Job:
        """Ask for a job's end: at once where none works on it, else within a heartbeat.

        Raises:
            NotFoundError: the tenant has no such job. ConflictError: it has ended, or must not be left half-done.
        """
        async with self._database.session() as session:
            job = await find_job(session, tenant_id, job_id, lock=True)
            if job.kind != JobKind.INDEX:
                raise ConflictError("A removal can't be cancelled: what it takes out is no longer part of any answer.")
            if job.state == JobState.QUEUED:
                await _cancel(session, job, self._clock())
            elif job.state == JobState.RUNNING:
                job.cancel_requested = True
            else:
                raise ConflictError(f"The job has ended: it is {job.state}.")
            return job

    async def retry(self, tenant_id: UUID, job_id: UUID) -> Job:
        """Do a failed or cancelled job again; what its stages have left is used.

        Raises:
            NotFoundError: the tenant has no such job. ConflictError: it can't be done again, or not yet.
        """
        async with self._database.session() as session:
            job = await find_job(session, tenant_id, job_id, lock=True)
            if job.kind != JobKind.INDEX or job.state not in (JobState.FAILED, JobState.CANCELLED):
                raise ConflictError(f"Only a failed or cancelled job can be tried again; this one is {job.state}.")
            version = await session.get(DocumentVersion, job.version_id, with_for_update=True)
            document = await session.get(Document, job.document_id)
            if version is None or document is None:
                raise ConflictError("The document was deleted. Upload it again.")
            removing = select(Job.id).where(
                Job.version_id == version.id,
                Job.kind == JobKind.REMOVE,
                Job.state.in_((JobState.QUEUED, JobState.RUNNING)),
            )
            if await session.scalar(removing.limit(1)) is not None:
                raise ConflictError("What the failed attempt has written is still being removed. Try again shortly.")
            version.state, version.error_code, version.error_detail = VersionState.ACCEPTED, None, None
            job.error_code = job.error_detail = job.finished_at = None
            job.attempts, job.cancel_requested, job.stage, job.progress = 0, False, ACCEPTED, {}
            _queue_again(job, self._clock())
            return job


async def find_job(session: AsyncSession, tenant_id: UUID, job_id: UUID, *, lock: bool = False) -> Job:
    """A tenant's job. Raises NotFoundError."""
    query = select(Job).where(Job.id == job_id, Job.tenant_id == tenant_id)
    found = await session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFoundError(f"There is no job {job_id}.")
    return found


def _queue_again(job: Job, run_at: datetime) -> None:
    job.state, job.run_at = JobState.QUEUED, run_at
    job.lease_token = job.lease_until = None


async def _cancel(session: AsyncSession, job: Job, now: datetime) -> None:
    await _set_aside(session, job, JobState.CANCELLED, ErrorCode.CANCELLED, "The job was cancelled on request.", now)


async def _set_aside(
    session: AsyncSession, job: Job, state: JobState, code: ErrorCode, detail: str, now: datetime
) -> None:
    """The job has ended without success; points that it may have written are taken out by another."""
    job.state, job.finished_at = state, now
    job.error_code, job.error_detail = code, detail
    job.lease_token = job.lease_until = None
    if job.kind == JobKind.INDEX and job.version_id is not None:
        await session.execute(
            update(DocumentVersion)
            .where(DocumentVersion.id == job.version_id)
            .values(state=VersionState.FAILED, error_code=code, error_detail=detail)
        )
        enqueue(session, JobKind.REMOVE, job.tenant_id, job.document_id, job.version_id, now)


def reason(error: Exception) -> tuple[ErrorCode, str]:
    if isinstance(error, AnchorageError):
        return error.code, error.detail
    return ErrorCode.INTERNAL_ERROR, f"Unexpected {type(error).__name__}; the worker's log has the details."
