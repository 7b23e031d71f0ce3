"""``/documents``: what answers are made from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Annotated, Any
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy import Select, select, tuple_
from sqlalchemy.orm import undefer

from app.api.deps import IngestPrincipal, QueryPrincipal, ServicesDep
from app.api.document_info import (
    AcceptedDocument,
    DocumentInfo,
    DocumentPage,
    Removal,
    UploadOutcome,
    UploadOutcomes,
    accepted_document,
    document_info,
)
from app.api.errors import PROBLEM_RESPONSES, problem_of, problem_responses, request_id_of
from app.api.fields import Cursor, Limit, Name, Source, read_cursor, write_cursor
from app.api.uploads import upload_body, uploads_of
from app.auth.keys import Principal
from app.db.bootstrap import find_collection
from app.db.models import Document, DocumentVersion, VersionState
from app.errors import AnchorageError, DependencyUnavailableError, InvalidRequestError, NotFoundError
from app.ingest.accept import Upload, delete_document, find_document
from app.ingest.archive import ArchiveLimits, Refused, is_archive, unpack
from app.services import Services

router = APIRouter(prefix="/documents", tags=["documents"], responses=PROBLEM_RESPONSES)
_BYTES = {"type": "string", "format": "binary"}


@router.post(
    "",
    status_code=202,
    response_model=AcceptedDocument | UploadOutcomes,
    summary="Add documents",
    openapi_extra=upload_body(several=True),
    responses=problem_responses(409)
    | {
        200: {"model": AcceptedDocument, "description": "It was there already."},
        207: {"model": UploadOutcomes, "description": "Several files, of which some were refused."},
    },
)
async def add(request: Request, response: Response, services: ServicesDep, principal: IngestPrincipal) -> Any:
    """Send a file (multipart field ``file``), text or a ``url`` (JSON). 202: it is stored and will be made answerable.

    The same bytes from the same source again give 200 and the document that is there. Several files, or a zip, are
    answered by a list, each accepted or refused by itself: 202 when none was refused, else 207.
    """
    sent = await uploads_of(request, services.fetcher, services.settings.max_upload_files)
    if len(sent) == 1 and not is_archive(sent[0]):
        accepted = await services.acceptance.add(principal.tenant_id, sent[0])
        if accepted.created:
            services.metrics.documents.inc()
        else:
            response.status_code = 200
        return accepted_document(accepted)
    outcomes = []
    for upload in sent:
        async for item in _documents(services, upload, alone=len(sent) == 1):
            outcomes.append(await _outcome(services, principal, item, request_id_of(request)))  # noqa: PERF401
    if any(outcome.problem for outcome in outcomes):
        response.status_code = 207
    return UploadOutcomes(outcomes=outcomes)


@router.put("/{document_id}", status_code=202, summary="Replace a document", openapi_extra=upload_body(several=False))
async def replace(
    request: Request, document_id: UUID, services: ServicesDep, principal: IngestPrincipal
) -> AcceptedDocument:
    """Send a new version; the old one answers until the new one is ready. Metadata stay, unless new ones are sent."""
    sent = await uploads_of(request, services.fetcher, services.settings.max_upload_files)
    if len(sent) > 1:
        raise InvalidRequestError("A document is replaced by one file; these are several.")
    accepted = await services.acceptance.replace(principal.tenant_id, document_id, sent[0])
    services.metrics.documents.inc()
    return accepted_document(accepted)


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
        return document_info(document, newest)


@router.get(
    "/{document_id}/content",
    summary="The bytes of a document",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {"schema": _BYTES, "example": "A berth costs 34 euros."}}}
    },
)
async def content(document_id: UUID, services: ServicesDep, principal: QueryPrincipal) -> Response:
    """As they were sent, of the version that answers see: what a citation leads to, such as an image."""
    async with services.database.session(reading=True) as session:
        document = await find_document(session, principal.tenant_id, document_id)
        version = await session.scalar(
            select(DocumentVersion)
            .options(undefer(DocumentVersion.content))
            .where(DocumentVersion.id == document.current_version_id)
        )
    if version is None:
        raise NotFoundError(f"Document {document_id} is not ready yet.")
    name = quote(PurePosixPath(document.source).name or "document", safe="")
    return Response(
        version.content,
        media_type=version.media_type,
        # Nobody's browser shall run what somebody uploaded.
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
            "Content-Security-Policy": "sandbox; default-src 'none'",
            "X-Content-Type-Options": "nosniff",
        },
    )


@router.get("", summary="List documents")
async def listing(
    services: ServicesDep,
    principal: QueryPrincipal,
    collection: Annotated[Name | None, Query()] = None,
    source: Annotated[Source | None, Query(description="Only from there.")] = None,
    sha256: Annotated[str | None, Query(pattern="^[0-9a-f]{64}$", description="Only of these bytes.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
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
        if source is not None:
            query = query.where(Document.source == source)
        if sha256 is not None:
            query = query.where(Document.id.in_(_with_bytes(where, sha256)))
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
    return DocumentPage(documents=[document_info(item, newest.get(item.id)) for item in page], next_cursor=following)


def _with_bytes(collection_id: UUID, sha256: str) -> Select[UUID]:
    """The documents that are, or are about to become, these bytes."""
    return select(DocumentVersion.document_id).where(
        DocumentVersion.collection_id == collection_id,
        DocumentVersion.content_hash == sha256,
        DocumentVersion.state.in_([VersionState.ACCEPTED, VersionState.READY]),
    )


async def _documents(services: Services, upload: Upload, *, alone: bool) -> AsyncIterator[Upload | Refused]:
    """The upload itself, or what is in it; unpacked in a thread, one entry at a time."""
    if not is_archive(upload):
        yield upload
        return
    settings = services.settings
    limits = ArchiveLimits(settings.max_archive_files, settings.max_upload_bytes, settings.max_archive_bytes)
    try:
        entries = await asyncio.to_thread(unpack, upload, limits)
    except AnchorageError as error:
        if alone:
            raise
        yield Refused(upload.source, error)
        return
    while (entry := await asyncio.to_thread(next, entries, None)) is not None:
        yield entry


async def _outcome(services: Services, principal: Principal, item: Upload | Refused, request_id: str) -> UploadOutcome:
    """Accept one of several; what was accepted before one that fails stays, and is recognised when sent again."""
    try:
        if isinstance(item, Refused):
            raise item.error
        accepted = await services.acceptance.add(principal.tenant_id, item)
    except DependencyUnavailableError:
        raise
    except AnchorageError as error:
        problem = problem_of(request_id, error)
        return UploadOutcome(source=item.source, status=problem.status, problem=problem)
    if accepted.created:
        services.metrics.documents.inc()
    status = 202 if accepted.created else 200
    return UploadOutcome(source=item.source, status=status, accepted=accepted_document(accepted))
