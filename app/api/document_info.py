"""How documents are shown."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from app.api.errors import Problem
from app.db.models import Document, DocumentVersion
from app.ingest.accept import Accepted

_VERSION: JsonDict = {
    "id": "5f1d2a30-3b0e-4a54-9c3a-0f7f0d4f3a10",
    "number": 1,
    "state": "ready",
    "media_type": "text/markdown",
    "size_bytes": 18,
    "chunk_count": 1,
    "metadata": {"department": "sales"},
    "error_code": None,
    "error_detail": None,
}
_DOCUMENT: JsonDict = {
    "id": "0a6f5f5e-6f0c-4c53-8f0a-3a1f7d1d9b01",
    "title": "Opening hours",
    "source": "hours.md",
    "ready": True,
    "current_version_id": _VERSION["id"],
    "newest_version": _VERSION,
    "created_at": "2026-01-31T09:00:00Z",
    "updated_at": "2026-01-31T09:00:02Z",
}
_JOB = "c1f7c0de-8a51-4d0d-9b0a-5a3b8d1d0f22"
_ACCEPTED: JsonDict = {"document": _DOCUMENT, "job_id": _JOB, "created": True}


class VersionInfo(BaseModel):
    """One state of a document's bytes: ``accepted``, ``ready``, ``failed`` or ``superseded``."""

    id: UUID
    number: int
    state: str
    media_type: str
    size_bytes: int
    chunk_count: int
    metadata: dict[str, Any]
    error_code: str | None
    error_detail: str | None


class DocumentInfo(BaseModel):
    """A document; ``ready`` says whether answers see it, in its ``current_version_id``."""

    model_config = ConfigDict(json_schema_extra={"examples": [_DOCUMENT]})
    id: UUID
    title: str
    source: str
    ready: bool
    current_version_id: UUID | None
    newest_version: VersionInfo | None
    created_at: datetime
    updated_at: datetime


class AcceptedDocument(BaseModel):
    """The document and the job that makes it answerable; ``created: false``: it was there already."""

    model_config = ConfigDict(json_schema_extra={"examples": [_ACCEPTED]})
    document: DocumentInfo
    job_id: UUID | None
    created: bool


class UploadOutcome(BaseModel):
    """One file of several: accepted (``status`` 202), there already (200), or refused with a problem."""

    source: str
    status: int
    accepted: AcceptedDocument | None = None
    problem: Problem | None = None


class UploadOutcomes(BaseModel):
    """Each file of a request with several, in their order."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "outcomes": [
                        {"source": "hours.md", "status": 202, "accepted": _ACCEPTED, "problem": None},
                        {
                            "source": "photo.bmp",
                            "status": 415,
                            "accepted": None,
                            "problem": {
                                "type": "about:blank",
                                "title": "Unsupported Media Type",
                                "status": 415,
                                "code": "unsupported_media_type",
                                "detail": "Documents of type .bmp can't be read.",
                                "request_id": "4f0c1c0e9b7d4e0f",
                            },
                        },
                    ]
                }
            ]
        }
    )
    outcomes: list[UploadOutcome] = Field(description="Accepted and refused each by itself.")


class DocumentPage(BaseModel):
    """Some documents, newest first, and the cursor of the next page."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"documents": [_DOCUMENT], "next_cursor": None}]})
    documents: list[DocumentInfo]
    next_cursor: str | None


class Removal(BaseModel):
    """The document is gone from every answer; the job takes its vectors out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"job_id": _JOB}]})
    job_id: UUID


def accepted_document(accepted: Accepted) -> AcceptedDocument:
    """As an upload is answered."""
    return AcceptedDocument(
        document=document_info(accepted.document, accepted.version),
        job_id=accepted.job.id if accepted.job is not None else None,
        created=accepted.created,
    )


def document_info(document: Document, newest: DocumentVersion | None) -> DocumentInfo:
    """As a document is shown, with its newest version."""
    version = None
    if newest is not None:
        version = VersionInfo(
            id=newest.id,
            number=newest.number,
            state=newest.state,
            media_type=newest.media_type,
            size_bytes=newest.size_bytes,
            chunk_count=newest.chunk_count,
            metadata=newest.attributes,
            error_code=newest.error_code,
            error_detail=newest.error_detail,
        )
    return DocumentInfo(
        id=document.id,
        title=document.title,
        source=document.source,
        ready=document.current_version_id is not None,
        current_version_id=document.current_version_id,
        newest_version=version,
        created_at=document.created_at,
        updated_at=document.updated_at,
    )
