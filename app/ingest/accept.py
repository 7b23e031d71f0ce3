"""Accepting a document: its bytes and its job are committed before the client hears 202."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.bootstrap import find_collection
from app.db.models import Collection, Document, DocumentVersion, Job, JobKind, VersionState
from app.db.session import Database
from app.errors import (
    ConflictError,
    DocumentError,
    ErrorCode,
    NotFoundError,
    PayloadTooLargeError,
    UnsupportedMediaTypeError,
)
from app.ingest.jobs import Clock, enqueue, utc_now
from app.ingest.media import IMAGES, PDF, TEXTUAL, charset_of, decode, media_type_of
from app.ingest.sandbox import Sandbox
from app.telemetry.traces import span

MAX_TITLE = 500


@dataclass(frozen=True, slots=True)
class Upload:
    """What a client sent. ``source`` says where it came from: a file's name, a path or an address."""

    content: bytes
    source: str
    declared_type: str | None = None
    title: str | None = None
    collection: str | None = None
    # None is nothing said: a new version then keeps those of the one before.
    attributes: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """``created`` is false when the same bytes from the same source were there already."""

    document: Document
    version: DocumentVersion
    job: Job | None
    created: bool


class Acceptance:
    """The door: what comes in is whole, readable and will be worked on."""

    def __init__(
        self,
        database: Database,
        sandbox: Sandbox,
        max_bytes: int,
        clock: Clock = utc_now,
        *,
        takes_images: bool = False,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._sandbox = sandbox
        self._max_bytes = max_bytes
        self._takes_images = takes_images
        self._wake = wake
        self._clock = clock

    async def add(self, tenant_id: UUID, upload: Upload) -> Accepted:
        """Accept a new document.

        Raises:
            PayloadTooLargeError, UnsupportedMediaTypeError, DocumentError: it can't be used; nothing was stored.
            NotFoundError: no such collection. ConflictError: the same bytes are there with other metadata.
        """
        with span("examine"):
            media_type = await self._examine(upload)
        content_hash = hashlib.sha256(upload.content).hexdigest()
        async with self._accepting() as session:
            # Locked: two hosts that are sent the same bytes at the same moment must see each other.
            collection = await find_collection(session, tenant_id, upload.collection, lock=True)
            present = await _same(session, collection, upload.source, content_hash)
            if present is not None:
                if upload.attributes not in (None, present.version.attributes):
                    raise ConflictError(
                        f"This document is there already, with other metadata: send it to PUT …/{present.document.id}."
                    )
                return present
            now = self._clock()
            document = Document(
                id=uuid4(),
                tenant_id=tenant_id,
                collection_id=collection.id,
                title=(upload.title or upload.source)[:MAX_TITLE],
                source=upload.source,
                current_version_id=None,
                created_at=now,
                updated_at=now,
            )
            session.add(document)
            await session.flush()
            return await self._add_version(session, document, 1, upload, media_type, content_hash, now)

    async def replace(self, tenant_id: UUID, document_id: UUID, upload: Upload) -> Accepted:
        """Accept a new version; the old one answers until the new one is ready.

        Raises:
            as ``add``; NotFoundError also when the tenant has no such document.
        """
        with span("examine"):
            media_type = await self._examine(upload)
        content_hash = hashlib.sha256(upload.content).hexdigest()
        async with self._accepting() as session:
            document = await find_document(session, tenant_id, document_id, lock=True)
            newest = await session.scalar(
                select(DocumentVersion)
                .where(DocumentVersion.document_id == document_id)
                .order_by(DocumentVersion.number.desc())
                .limit(1)
            )
            number = newest.number + 1 if newest is not None else 1
            if upload.attributes is None and newest is not None:
                upload = replace(upload, attributes=newest.attributes)
            now = self._clock()
            document.updated_at = now
            if upload.title:
                document.title = upload.title[:MAX_TITLE]
            return await self._add_version(session, document, number, upload, media_type, content_hash, now)

    @asynccontextmanager
    async def _accepting(self) -> AsyncIterator[AsyncSession]:
        with span("accept"):
            async with self._database.session() as session:
                yield session
        self._wake()

    async def _examine(self, upload: Upload) -> str:
        if len(upload.content) > self._max_bytes:
            raise too_large(self._max_bytes)
        if not upload.content.strip():
            raise DocumentError(ErrorCode.DOCUMENT_EMPTY, "The document is empty. Send a file that has content.")
        media_type = media_type_of(upload.declared_type, upload.source, upload.content)
        if media_type in IMAGES and not self._takes_images:
            raise UnsupportedMediaTypeError("Images need a model that sees: set VISION_PROVIDER and VISION_MODEL.")
        if media_type == PDF:
            await self._sandbox.check_pdf(upload.content)
        elif media_type in TEXTUAL:
            decode(upload.content, media_type, charset_of(upload.declared_type))
        return media_type

    async def _add_version(
        self,
        session: AsyncSession,
        document: Document,
        number: int,
        upload: Upload,
        media_type: str,
        content_hash: str,
        now: datetime,
    ) -> Accepted:
        charset = charset_of(upload.declared_type)
        version = DocumentVersion(
            id=uuid4(),
            tenant_id=document.tenant_id,
            collection_id=document.collection_id,
            document_id=document.id,
            number=number,
            state=VersionState.ACCEPTED,
            media_type=media_type if charset is None else f"{media_type}; charset={charset}",
            content_hash=content_hash,
            content=upload.content,
            size_bytes=len(upload.content),
            attributes=upload.attributes or {},
            chunk_count=0,
            created_at=now,
        )
        session.add(version)
        job = enqueue(session, JobKind.INDEX, document.tenant_id, document.id, version.id, now)
        return Accepted(document, version, job, created=True)


def too_large(limit: int) -> PayloadTooLargeError:
    """The error for more bytes than ``limit``."""
    return PayloadTooLargeError(f"The document is larger than {limit >> 20} MiB. Split it, or raise MAX_UPLOAD_BYTES.")


async def find_document(session: AsyncSession, tenant_id: UUID, document_id: UUID, *, lock: bool = False) -> Document:
    """A tenant's document. Raises NotFoundError."""
    query = select(Document).where(Document.id == document_id, Document.tenant_id == tenant_id)
    found = await session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise NotFoundError(f"There is no document {document_id}.")
    return found


async def delete_document(database: Database, tenant_id: UUID, document_id: UUID, clock: Clock = utc_now) -> Job:
    """Make a document gone, for every answer from now on; its points are removed by the job that is returned.

    Raises:
        NotFoundError: the tenant has no such document.
    """
    async with database.session() as session:
        document = await find_document(session, tenant_id, document_id, lock=True)
        collection = await session.get_one(Collection, document.collection_id, with_for_update=True)
        if document.current_version_id is not None:
            collection.epoch += 1
        await session.delete(document)
        return enqueue(session, JobKind.REMOVE, tenant_id, document_id, None, clock())


async def _same(session: AsyncSession, collection: Collection, source: str, content_hash: str) -> Accepted | None:
    row = (
        await session.execute(
            select(Document, DocumentVersion)
            .join(DocumentVersion, DocumentVersion.document_id == Document.id)
            .where(
                Document.collection_id == collection.id,
                Document.source == source,
                DocumentVersion.content_hash == content_hash,
                DocumentVersion.state.in_([VersionState.ACCEPTED, VersionState.READY]),
            )
            .limit(1)
        )
    ).first()
    if row is None:
        return None
    document, version = row
    job = await session.scalar(select(Job).where(Job.version_id == version.id).order_by(Job.created_at.desc()).limit(1))
    return Accepted(document, version, job, created=False)
