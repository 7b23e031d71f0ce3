"""``/jobs``: how far the work on a document is."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import select

from app.api.deps import IngestPrincipal, ServicesDep
from app.api.errors import PROBLEM_RESPONSES
from app.db.models import Job
from app.errors import NotFoundError

router = APIRouter(prefix="/jobs", tags=["jobs"], responses=PROBLEM_RESPONSES)


class JobInfo(BaseModel):
    """``state`` is queued, running, succeeded or failed; ``error_detail`` says why it was retried or failed."""

    id: UUID
    kind: str
    document_id: UUID
    state: str
    stage: str
    attempts: int
    error_code: str | None
    error_detail: str | None
    created_at: datetime
    finished_at: datetime | None


@router.get("/{job_id}", summary="One job")
async def one(job_id: UUID, services: ServicesDep, principal: IngestPrincipal) -> JobInfo:
    """The state of a job."""
    async with services.database.session(reading=True) as session:
        job = await session.scalar(select(Job).where(Job.id == job_id, Job.tenant_id == principal.tenant_id))
    if job is None:
        raise NotFoundError(f"There is no job {job_id}.")
    return JobInfo.model_validate(job, from_attributes=True)
