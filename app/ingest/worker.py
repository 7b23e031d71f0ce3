"""The worker: takes jobs, keeps their leases while it works, and settles how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from app.db.models import JobKind, JobState
from app.errors import AnchorageError, DependencyUnavailableError
from app.ingest.jobs import Claim, JobCancelledError, LeaseLostError, Queue, reason
from app.telemetry import context
from app.telemetry.metrics import Metrics
from app.telemetry.traces import Attribute, Kind, Origin, Tracer

log = structlog.get_logger(__name__)
Handler = Callable[[Claim], Awaitable[None]]
# An outcome in the metrics: it is tried again later.
POSTPONED = "postponed"
# Also how long a cancelled job goes on at most.
HEARTBEAT_SECONDS = 2.0
# A chore that failed, as for an index that was away, does not wait for its next day.
CHORE_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Chore:
    """What a worker does when it starts and then every so many seconds. Doing it twice must do no harm."""

    name: str
    do: Callable[[], Awaitable[object]]
    every_s: float


class Worker:
    """Works on some jobs at a time until it is told to stop; then it hands back those in hand."""

    def __init__(
        self,
        queue: Queue,
        handlers: Mapping[JobKind, Handler],
        poll_s: float = 0.5,
        concurrency: int = 1,
        chores: Sequence[Chore] = (),
        *,
        metrics: Metrics | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        self._queue = queue
        self._metrics = metrics or Metrics("unwatched", enabled=False)
        self._tracer = tracer
        self._handlers = handlers
        self._poll_s = poll_s
        self._concurrency = concurrency
        self._chores = chores
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """Ask the worker to end."""
        self._stopping.set()
        self._queue.wake()

    async def run(self) -> None:
        """Work until ``stop``. Several jobs at a time: a book on its way does not hold up a letter."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._concurrency):
                group.create_task(self._take_turns())
            for chore in self._chores:
                group.create_task(self._look_after(chore))

    async def run_until_idle(self) -> None:
        """Work off what is due now, one after another, then return."""
        while (claim := await self._queue.claim()) is not None:
            await self._work(claim)

    async def _take_turns(self) -> None:
        while not self._stopping.is_set():
            try:
                claim = await self._queue.claim()
            except DependencyUnavailableError as error:
                log.warning("worker.waiting", dependency=error.dependency)
                claim = None
            if claim is not None:
                await self._work(claim)
            elif not self._stopping.is_set():
                await self._queue.rest(self._poll_s)

    async def _look_after(self, chore: Chore) -> None:
        while not self._stopping.is_set():
            doing, stopping = asyncio.ensure_future(chore.do()), asyncio.create_task(self._stopping.wait())
            await asyncio.wait({doing, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in (doing, stopping):
                task.cancel()
            (error, _) = await asyncio.gather(doing, stopping, return_exceptions=True)
            if isinstance(error, Exception):
                log.warning("chore.failed", chore=chore.name, error=str(error), exc_info=error)
            failed = isinstance(error, Exception)
            await self._pause(min(chore.every_s, CHORE_RETRY_SECONDS) if failed else chore.every_s)

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            pass

    async def _work(self, claim: Claim) -> None:
        """Do one job, under the names of the request that made it."""
        context.begin(request_id=claim.request_id, tenant=str(claim.tenant_id), job_id=str(claim.job_id))
        try:
            if self._tracer is None:
                await self._do(claim)
                return
            origin = Origin.read(claim.traceparent, claim.request_id or "")
            context.add(trace_id=origin.trace_id)
            with self._tracer.begin(f"job {claim.kind}", origin, Kind.CONSUMER) as root:
                root.set(_attributes(claim))
                await self._do(claim)
        finally:
            context.begin()

    async def _do(self, claim: Claim) -> None:
        job = asyncio.ensure_future(self._handlers[claim.kind](claim))
        heartbeat = asyncio.create_task(self._keep(claim))
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({job, heartbeat, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if job.done():
                await self._settle(claim, job.exception())
                return
            job.cancel()
            await asyncio.wait({job})
            if heartbeat.done():
                await self._settle(claim, heartbeat.exception())
            else:
                await self._queue.hand_back(claim)
        except (LeaseLostError, DependencyUnavailableError) as error:
            # The lease runs out by itself and the job is taken over, here or elsewhere.
            log.warning("job.let_go", reason=type(error).__name__)
        finally:
            for task in (job, heartbeat, stopping):
                task.cancel()
            await asyncio.gather(job, heartbeat, stopping, return_exceptions=True)

    async def _settle(self, claim: Claim, error: BaseException | None) -> None:
        about = {"document_id": str(claim.document_id), "kind": claim.kind.value}
        if error is None:
            self._metrics.jobs_finished.labels(JobState.SUCCEEDED).inc()
            log.info("job.done", attempts=claim.attempts, **about)
        elif isinstance(error, JobCancelledError):
            log.info("job.cancelled", **about)
            await self._queue.cancelled(claim)
            self._metrics.jobs_finished.labels(JobState.CANCELLED).inc()
        elif isinstance(error, LeaseLostError) or not isinstance(error, Exception):
            raise error
        else:
            unexpected = None if isinstance(error, AnchorageError) else error
            log.warning("job.failed", attempts=claim.attempts, error=str(error), exc_info=unexpected, **about)
            self._metrics.errors.labels(reason(error)[0]).inc()
            state = await self._queue.failed(claim, error)
            self._metrics.jobs_finished.labels(POSTPONED if state is JobState.QUEUED else state).inc()

    async def _keep(self, claim: Claim) -> None:
        """Renew the lease well before it ends. Raises LeaseLostError or JobCancelledError when the job must end."""
        pause = min(self._queue.lease.total_seconds() / 4, HEARTBEAT_SECONDS)
        while True:
            await asyncio.sleep(pause)
            try:
                await self._queue.renew(claim)
            except DependencyUnavailableError:
                continue


def _attributes(claim: Claim) -> dict[str, Attribute | None]:
    return {
        "anchorage.job_id": str(claim.job_id),
        "anchorage.document_id": str(claim.document_id),
        "anchorage.tenant": str(claim.tenant_id),
        "anchorage.request_id": claim.request_id,
        "anchorage.attempt": claim.attempts,
    }
