"""``/documents``: what answers are made from."""

from __future__ import annotations

from contextlib import AsyncExitStack
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from sqlalchemy import select, tuple_
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException

from app.api.cursors import read_cursor, write_cursor
from app.api.deps import IngestPrincipal, QueryPrincipal, ServicesDep
from app.api.errors import PROBLEM_RESPONSES
from app.db.bootstrap import find_collection
from app.db.models import Document, DocumentVersion
from app.errors import AnchorageError, UnsupportedMediaTypeError
from app.ingest.accept import Accepted, Upload, delete_document, find_document

router = APIRouter(prefix="/documents", tags=["documents"], responses=PROBLEM_RESPONSES)
# Postgres can't store a NUL in text.
_NO_NUL = r"^[^\x00]*$"
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=_NO_NUL)]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=_NO_NUL)]
Source = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000, pattern=_NO_NUL)]


class TextUpload(BaseModel):
    """A document as JSON."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"title": "Opening hours", "text": "We open at nine.", "media_type": "text/markdown"}]
        },
    )
    text: str
    title: Title
    media_type: str = Field(
        "text/plain",
        max_length=100,
        description="Any textual type, such as text/markdown or text/csv.",
    )
    source: Source | None = Field(None, description="Where it came from; the title if absent.")
    collection: Name | None = None


class FormFields(BaseModel):
    """The fields beside ``file`` of a multipart upload."""

    model_config = ConfigDict(extra="forbid")
    title: Title | None = None
    source: Source | None = None
    collection: Name | None = None


class VersionInfo(BaseModel):
    """One state of a document's bytes: ``accepted``, ``ready``, ``failed`` or ``superseded``."""

    id: UUID
    number: int
    state: str
    media_type: str
    size_bytes: int
    chunk_count: int
    error_code: str | None
    error_detail: str | None


class DocumentInfo(BaseModel):
    """A document; ``ready`` says whether answers see it, in its ``current_version_id``."""

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

    document: DocumentInfo
    job_id: UUID | None
    created: bool


class DocumentPage(BaseModel):
    """Some documents, newest first, and the cursor of the next page."""

    documents: list[DocumentInfo]
    next_cursor: str | None


class Removal(BaseModel):
    """The document is gone from every answer; the job takes its vectors out."""

    job_id: UUID


_UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": TextUpload.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "additionalProperties": False,
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "title": {"type": "string", "maxLength": 500},
                        "source": {"type": "string", "maxLength": 2000},
                        "collection": {"type": "string", "maxLength": 100},
                    },
                }
            },
        },
    }
}


@router.post("", status_code=202, summary="Add a document", openapi_extra=_UPLOAD_BODY)
async def add(
    request: Request, response: Response, services: ServicesDep, principal: IngestPrincipal
) -> AcceptedDocument:
    """Send a file (multipart field ``file``) or text (JSON). 202: it is stored and will be made answerable.

    The same bytes from the same source again give 200 and the document that is there.
    """
    accepted = await services.acceptance.add(principal.tenant_id, await _upload(request))
    if accepted.created:
        services.metrics.documents.inc()
    else:
        response.status_code = 200
    return _accepted(accepted)


@router.put("/{document_id}", status_code=202, summary="Replace a document", openapi_extra=_UPLOAD_BODY)
async def replace(
    request: Request, document_id: UUID, services: ServicesDep, principal: IngestPrincipal
) -> AcceptedDocument:
    """Send a new version; the old one answers until the new one is ready."""
    accepted = await services.acceptance.replace(principal.tenant_id, document_id, await _upload(request))
    services.metrics.documents.inc()
    return _accepted(accepted)


@router.delete("/{document_id}", status_code=202, summary="Delete a document")
async def delete(document_id: UUID, services: ServicesDep, principal: IngestPrincipal) -> Removal:
    """From now on no answer uses it."""
    job = await delete_document(services.database, principal.tenant_id, document_id)
    return Removal(job_id=job.id)


@router.get("/{document_id}", summary="One document")
async def one(document_id: UUID, services: ServicesDep, principal: QueryPrincipal) -> DocumentInfo:
    """A document with the state of its newest version."""
    async with services.database.session(reading=True) as session:
        document = await find_document(session, principal.tenant_id, document_id)
        newest = await session.scalar(
            select(DocumentVersion)
            .where(DocumentVersion.document_id == document.id)
            .order_by(DocumentVersion.number.desc())
            .limit(1)
        )
        return _info(document, newest)


@router.get("", summary="List documents")
async def listing(
    services: ServicesDep,
    principal: QueryPrincipal,
    collection: Annotated[Name | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=200)] = None,
) -> DocumentPage:
    """Newest first; hand ``next_cursor`` back for the next page."""
    async with services.database.session(reading=True) as session:
        where = (await find_collection(session, principal.tenant_id, collection)).id
        query = (
            select(Document)
            .where(Document.tenant_id == principal.tenant_id, Document.collection_id == where)
            .order_by(Document.created_at.desc(), Document.id.desc())
            .limit(limit + 1)
        )
        if cursor is not None:
            query = query.where(tuple_(Document.created_at, Document.id) < tuple_(*read_cursor(cursor)))
        found = list(await session.scalars(query))
        newest = {
            version.document_id: version
            for version in await session.scalars(
                select(DocumentVersion)
                .where(DocumentVersion.document_id.in_([document.id for document in found]))
                .order_by(DocumentVersion.number)
            )
        }
    page = found[:limit]
    following = write_cursor(page[-1].created_at, page[-1].id) if len(found) > limit else None
    return DocumentPage(documents=[_info(item, newest.get(item.id)) for item in page], next_cursor=following)


async def _upload(request: Request) -> Upload:
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if content_type == "application/json":
        return _text_upload(await request.body())
    if content_type == "multipart/form-data":
        return await _file_upload(request)
    raise UnsupportedMediaTypeError(
        f"Send multipart/form-data with a field `file`, or application/json; not {content_type[:80] or 'nothing'}."
    )


def _text_upload(body: bytes) -> Upload:
    try:
        sent = TextUpload.model_validate_json(body)
    except ValidationError as error:
        raise RequestValidationError(error.errors(include_url=False)) from None
    try:
        content = sent.text.encode()
    except UnicodeEncodeError:
        raise _invalid("text", "contains half of a surrogate pair, which is no character") from None
    return Upload(content, sent.source or sent.title, f"{sent.media_type}; charset=utf-8", sent.title, sent.collection)


async def _file_upload(request: Request) -> Upload:
    try:
        form = await request.form(max_files=1, max_fields=8)
    except AnchorageError:
        raise
    except (MultiPartException, KeyError) as error:
        raise _invalid("body", f"is not valid multipart/form-data: {error}") from None
    async with AsyncExitStack() as stack:
        stack.push_async_callback(form.close)
        file = form.get("file")
        if not isinstance(file, UploadFile):
            raise _invalid("file", "is missing: send the document as a file in this field")
        fields = {name: value for name, value in form.multi_items() if name != "file"}
        try:
            sent = FormFields.model_validate(fields)
        except ValidationError as error:
            raise RequestValidationError(error.errors(include_url=False)) from None
        name = (file.filename or "document")[:2000]
        if "\x00" in name:
            raise _invalid("file", "has a NUL character in its name")
        return Upload(await file.read(), sent.source or name, file.content_type, sent.title, sent.collection)


def _invalid(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": ("body", field), "msg": message}])


def _accepted(accepted: Accepted) -> AcceptedDocument:
    return AcceptedDocument(
        document=_info(accepted.document, accepted.version),
        job_id=accepted.job.id if accepted.job is not None else None,
        created=accepted.created,
    )


def _info(document: Document, newest: DocumentVersion | None) -> DocumentInfo:
    version = None
    if newest is not None:
        version = VersionInfo(
            id=newest.id,
            number=newest.number,
            state=newest.state,
            media_type=newest.media_type,
            size_bytes=newest.size_bytes,
            chunk_count=newest.chunk_count,
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
