"""``/jobs``: how far the work on a document is, and what to do when it stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict
from sqlalchemy import select, tuple_
from sse_starlette import EventSourceResponse, ServerSentEvent

from app.api.deps import IngestPrincipal, ServicesDep
from app.api.errors import PROBLEM_RESPONSES
from app.api.fields import Cursor, Limit, read_cursor, write_cursor
from app.api.streaming import EVENT_STREAM
from app.db.models import Job, JobKind, JobState
from app.errors import ErrorCode
from app.ingest.jobs import WAITS, find_job

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=PROBLEM_RESPONSES)
EVENTS_EVERY_SECONDS = 0.5
HEARTBEAT_SECONDS = 15
ENDED = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)
_MEND = "Mend the document and upload it again: a job with the same bytes would fail the same way."
_NEXT_ACTIONS = {
    ErrorCode.DOCUMENT_EMPTY: _MEND,
    ErrorCode.DOCUMENT_UNREADABLE: _MEND,
    ErrorCode.DOCUMENT_NOT_UTF8: _MEND,
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: _MEND,
    ErrorCode.CANCELLED: "POST /jobs/{id}/retry takes it up where it was stopped.",
    ErrorCode.INTERNAL_ERROR: "The worker's log has the job's id and the cause; POST /jobs/{id}/retry when it is gone.",
}


class StageProgress(BaseModel):
    """Parts of a stage: chunks, where it has several."""

    done: int
    total: int


_JOB: JsonDict = {
    "id": "c1f7c0de-8a51-4d0d-9b0a-5a3b8d1d0f22",
    "kind": "index",
    "document_id": "0a6f5f5e-6f0c-4c53-8f0a-3a1f7d1d9b01",
    "state": "succeeded",
    "stage": "done",
    "progress": {"embed": {"done": 12, "total": 12}, "index": {"done": 12, "total": 12}},
    "attempts": 1,
    "waits": 0,
    "next_attempt_at": None,
    "error_code": None,
    "error_detail": None,
    "next_action": None,
    "created_at": "2026-01-31T09:00:00Z",
    "finished_at": "2026-01-31T09:00:02Z",
}


class JobInfo(BaseModel):
    """``state`` is queued, running, succeeded, failed or cancelled; ``error_detail`` says why it waits or has ended."""

    model_config = ConfigDict(json_schema_extra={"examples": [_JOB]})
    id: UUID
    kind: str
    document_id: UUID
    state: str
    stage: str = Field(description="The last stage begun: accepted, parse, chunk, embed, index, done.")
    progress: dict[str, StageProgress]
    attempts: int
    waits: int = Field(description="How often it waited for a dependency that was away.")
    next_attempt_at: datetime | None
    error_code: str | None
    error_detail: str | None
    next_action: str | None = Field(description="What you can do about a job that has failed.")
    created_at: datetime
    finished_at: datetime | None


class JobPage(BaseModel):
    """Some jobs, newest first, and the cursor of the next page."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"jobs": [_JOB], "next_cursor": None}]})
    jobs: list[JobInfo]
    next_cursor: str | None


@router.get("", summary="List jobs")
async def listing(
    services: ServicesDep,
    principal: IngestPrincipal,
    state: Annotated[JobState | None, Query(description="Only these.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> JobPage:
    """Newest first; ``state=failed`` shows what was set aside, with the cause and the next action of each."""
    query = select(Job).where(Job.tenant_id == principal.tenant_id)
    if state is not None:
        query = query.where(Job.state == state)
    if cursor is not None:
        query = query.where(tuple_(Job.created_at, Job.id) < tuple_(*read_cursor(cursor)))
    async with services.database.session(reading=True) as session:
        found = list(await session.scalars(query.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit + 1)))
    page = found[:limit]
    following = write_cursor(page[-1].created_at, page[-1].id) if len(found) > limit else None
    return JobPage(jobs=[_info(job) for job in page], next_cursor=following)


@router.get("/{job_id}", summary="One job")
async def one(job_id: UUID, services: ServicesDep, principal: IngestPrincipal) -> JobInfo:
    """The state of a job."""
    async with services.database.session(reading=True) as session:
        return _info(await find_job(session, principal.tenant_id, job_id))


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=EventSourceResponse,
    responses={200: {"content": EVENT_STREAM}},
)
async def events(job_id: UUID, services: ServicesDep, principal: IngestPrincipal) -> EventSourceResponse:
    """Server-sent events: ``progress`` whenever something changed, ``done`` at the end, each with the whole job."""
    first = await one(job_id, services, principal)

    async def follow() -> AsyncGenerator[ServerSentEvent, None]:
        told, job, number = None, first, 0
        while True:
            if job != told:
                number += 1
                name = "done" if job.state in ENDED else "progress"
                yield ServerSentEvent(job.model_dump_json(), event=name, id=str(number))
                told = job
            if job.state in ENDED:
                return
            await asyncio.sleep(EVENTS_EVERY_SECONDS)
            job = await one(job_id, services, principal)

    return EventSourceResponse(
        follow(),
        ping=HEARTBEAT_SECONDS,
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-cache, no-transform"},
    )


@router.post("/{job_id}/cancel", status_code=202, summary="Cancel a job")
async def cancel(job_id: UUID, services: ServicesDep, principal: IngestPrincipal) -> JobInfo:
    """Of a new version, the former one goes on answering; what the job has written is removed."""
    return _info(await services.queue.cancel(principal.tenant_id, job_id))


@router.post("/{job_id}/retry", status_code=202, summary="Do a failed job again")
async def retry(job_id: UUID, services: ServicesDep, principal: IngestPrincipal) -> JobInfo:
    """Stages that were done are not done again."""
    return _info(await services.queue.retry(principal.tenant_id, job_id))


def _info(job: Job) -> JobInfo:
    code = ErrorCode(job.error_code) if job.error_code is not None else None
    action = _NEXT_ACTIONS.get(code, "POST /jobs/{id}/retry") if code is not None else None
    ended_badly = job.kind == JobKind.INDEX and job.state in (JobState.FAILED, JobState.CANCELLED)
    return JobInfo(
        id=job.id,
        kind=job.kind,
        document_id=job.document_id,
        state=job.state,
        stage=job.stage,
        progress={name: StageProgress(**parts) for name, parts in job.progress.items() if name != WAITS},
        attempts=job.attempts,
        waits=job.progress.get(WAITS, 0),
        next_attempt_at=job.run_at if job.state == JobState.QUEUED else None,
        error_code=job.error_code,
        error_detail=job.error_detail,
        next_action=action if ended_badly else None,
        created_at=job.created_at,
        finished_at=job.finished_at,
    )
