"""The queue of work on documents: a table, leases that run out, and tokens that fence the late."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import structlog
from sqlalchemy import and_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import DocumentVersion, Job, JobKind, JobState, VersionState
from app.db.session import Database
from app.errors import AnchorageError, DependencyUnavailableError, DocumentError, ErrorCode

log = structlog.get_logger()
Clock = Callable[[], datetime]
FIRST_RETRY_SECONDS = 2.0
LAST_RETRY_SECONDS = 120.0


def utc_now() -> datetime:
    """The real clock; tests hand in another."""
    return datetime.now(UTC)


class LeaseLostError(Exception):
    """Another worker took the job over; what this one did must leave no trace."""


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


def enqueue(
    session: AsyncSession, kind: JobKind, tenant_id: UUID, document_id: UUID, version_id: UUID | None, now: datetime
) -> Job:
    """Put a job into the caller's transaction: it exists exactly if that one commits."""
    job = Job(
        id=uuid4(),
        tenant_id=tenant_id,
        kind=kind,
        document_id=document_id,
        version_id=version_id,
        state=JobState.QUEUED,
        stage="accepted",
        attempts=0,
        run_at=now,
        created_at=now,
    )
    session.add(job)
    return job


async def hold(session: AsyncSession, claim: Claim) -> Job:
    """Lock the claimed job in this transaction.

    Raises:
        LeaseLostError: it is no longer this worker's.
    """
    job = await session.scalar(
        select(Job).where(Job.id == claim.job_id, Job.lease_token == claim.token).with_for_update()
    )
    if job is None:
        raise LeaseLostError
    return job


def finish(job: Job, now: datetime) -> None:
    """Mark a held job as done."""
    job.state, job.stage, job.finished_at = JobState.SUCCEEDED, "done", now
    job.lease_token = job.lease_until = None


class Queue:
    """Claims, leases and outcomes."""

    def __init__(self, database: Database, lease_s: float, max_attempts: int, clock: Clock = utc_now) -> None:
        self._database = database
        self.lease = timedelta(seconds=lease_s)
        self._max_attempts = max_attempts
        self._clock = clock

    async def claim(self) -> Claim | None:
        """Take the job that has waited longest, or one whose worker has gone silent."""
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
                await _give_up(session, job, ErrorCode.INTERNAL_ERROR, "The worker ended while doing this job.", now)
                await session.flush()
                job = await session.scalar(next_due)
            if job is None:
                return None
            job.state, job.lease_token, job.lease_until = JobState.RUNNING, uuid4(), now + self.lease
            job.attempts += 1
            return Claim(
                job.id, job.lease_token, job.tenant_id, JobKind(job.kind), job.document_id, job.version_id, job.attempts
            )

    async def renew(self, claim: Claim) -> None:
        """Say that the worker lives. Raises LeaseLostError."""
        async with self._database.session() as session:
            (await hold(session, claim)).lease_until = self._clock() + self.lease

    async def stage(self, claim: Claim, stage: str) -> None:
        """Record how far the job is. Raises LeaseLostError."""
        async with self._database.session() as session:
            (await hold(session, claim)).stage = stage

    async def hand_back(self, claim: Claim) -> None:
        """Release a job unfinished, at once and without counting the attempt."""
        async with self._database.session() as session:
            job = await hold(session, claim)
            job.state, job.run_at = JobState.QUEUED, self._clock()
            job.attempts -= 1
            job.lease_token = job.lease_until = None

    async def failed(self, claim: Claim, error: Exception) -> None:
        """Retry later what may pass; give up on what won't, with the reason."""
        code, detail = _reason(error)
        permanent = isinstance(error, DocumentError) or claim.attempts >= self._max_attempts
        now = self._clock()
        async with self._database.session() as session:
            job = await hold(session, claim)
            if permanent:
                await _give_up(session, job, code, detail, now)
                return
            job.error_code, job.error_detail = code, detail
            job.lease_token = job.lease_until = None
            delay = min(FIRST_RETRY_SECONDS * 2 ** (claim.attempts - 1), LAST_RETRY_SECONDS)
            job.state, job.run_at = JobState.QUEUED, now + timedelta(seconds=delay)


async def _give_up(session: AsyncSession, job: Job, code: ErrorCode, detail: str, now: datetime) -> None:
    """The job has failed for good; points that it may have written are taken out by another."""
    job.state, job.finished_at = JobState.FAILED, now
    job.error_code, job.error_detail = code, detail
    job.lease_token = job.lease_until = None
    if job.kind == JobKind.INDEX and job.version_id is not None:
        await session.execute(
            update(DocumentVersion)
            .where(DocumentVersion.id == job.version_id)
            .values(state=VersionState.FAILED, error_code=code, error_detail=detail)
        )
        enqueue(session, JobKind.REMOVE, job.tenant_id, job.document_id, job.version_id, now)


def _reason(error: Exception) -> tuple[ErrorCode, str]:
    if isinstance(error, AnchorageError):
        return error.code, error.detail
    return ErrorCode.INTERNAL_ERROR, f"Unexpected {type(error).__name__}; the worker's log has the details."


class Worker:
    """Takes one job after another until it is told to stop; then it hands back the one in hand."""

    def __init__(
        self, queue: Queue, handlers: dict[JobKind, Callable[[Claim], Awaitable[None]]], poll_s: float = 0.5
    ) -> None:
        self._queue = queue
        self._handlers = handlers
        self._poll_s = poll_s
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ask the worker to end."""
        self._stopping.set()

    async def run(self) -> None:
        """Work until ``stop``."""
        while not self._stopping.is_set():
            try:
                claim = await self._queue.claim()
            except DependencyUnavailableError as error:
                log.warning("worker.waiting", dependency=error.dependency)
                claim = None
            if claim is None:
                await self._pause()
            else:
                await self._work(claim)

    async def run_until_idle(self) -> None:
        """Work off what is due now, then return."""
        while (claim := await self._queue.claim()) is not None:
            await self._work(claim)

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._poll_s):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _work(self, claim: Claim) -> None:
        job = asyncio.ensure_future(self._handlers[claim.kind](claim))
        heartbeat = asyncio.create_task(self._keep(claim))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({job, heartbeat, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if job.done():
                await self._settle(claim, job.exception())
            else:
                job.cancel()
                await asyncio.wait({job})
                if not heartbeat.done():
                    await self._queue.hand_back(claim)
        except (LeaseLostError, DependencyUnavailableError) as error:
            # The lease runs out by itself and the job is taken over, here or elsewhere.
            log.warning("job.let_go", job_id=str(claim.job_id), reason=type(error).__name__)
        finally:
            for task in (job, heartbeat, stopping):
                task.cancel()
            await asyncio.gather(job, heartbeat, stopping, return_exceptions=True)

    async def _settle(self, claim: Claim, error: BaseException | None) -> None:
        context = {"job_id": str(claim.job_id), "document_id": str(claim.document_id), "kind": claim.kind.value}
        if error is None:
            log.info("job.done", attempts=claim.attempts, **context)
        elif isinstance(error, LeaseLostError):
            raise error
        elif isinstance(error, Exception):
            log.warning("job.failed", attempts=claim.attempts, error=str(error), exc_info=error, **context)
            await self._queue.failed(claim, error)
        else:
            raise error

    async def _keep(self, claim: Claim) -> None:
        """Renew the lease well before it ends; return when it is lost."""
        while True:
            await asyncio.sleep(self._queue.lease.total_seconds() / 4)
            try:
                await self._queue.renew(claim)
            except LeaseLostError:
                return
            except DependencyUnavailableError:
                continue
