"""Brings documents back from a restored copy of the database, beside everything that came later.

Only what was uploaded is taken: bytes, title, metadata. Workers make it answerable as they do any upload, so the index
follows by itself. A document at a time is one transaction; done again after it was broken off, it goes on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID, uuid4

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from app.db.migrate import pending
from app.db.models import Collection, Document, DocumentVersion, Job, JobKind, JobState, Tenant, VersionState
from app.db.session import Database
from app.errors import ConfigurationError, ConflictError, NotFoundError
from app.ingest.jobs import Clock, enqueue, utc_now


class Outcome(StrEnum):
    """What became of a document of the copy."""

    # It was deleted since, and is there again, under the same id.
    BACK = "back"
    # It is there with other content, which answers until the copy's is ready.
    REVERTED = "reverted"
    UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True)
class Saved:
    """A document as the copy has it, with the version that answered then."""

    tenant: str
    collection: Collection
    document: Document
    version: DocumentVersion


async def recover_document(copy: Database, live: Database, document_id: UUID, clock: Clock = utc_now) -> Outcome:
    """Bring one document back.

    Raises:
        NotFoundError: the copy has none of that id that ever answered. ConfigurationError: the copy has another schema,
        or a tenant that is gone. ConflictError: it is being removed right now.
    """
    await _same_schema(copy)
    return await _recover(live, await _saved(copy, document_id), clock)


async def recover_collection(
    copy: Database, live: Database, tenant: str, name: str, clock: Clock = utc_now
) -> Counter[Outcome]:
    """Bring all documents of a collection back; those that were added since stay. The counts are of the copy's.

    Raises:
        as ``recover_document``; NotFoundError: the copy has no such collection.
    """
    await _same_schema(copy)
    async with copy.session(reading=True) as session:
        collection = await session.scalar(
            select(Collection)
            .join(Tenant, Tenant.id == Collection.tenant_id)
            .where(Tenant.name == tenant, Collection.name == name)
        )
        if collection is None:
            raise NotFoundError(f"The copy has no collection {name!r} of the tenant {tenant!r}.")
        ids: Sequence[UUID] = (
            await session.scalars(
                select(Document.id)
                .where(Document.collection_id == collection.id, Document.current_version_id.is_not(None))
                .order_by(Document.created_at, Document.id)
            )
        ).all()
    async with live.session() as session:
        try:
            await _collection(session, tenant, collection, clock)
        except IntegrityError as error:
            raise ConflictError(f"Somebody else makes the collection {name!r} right now. Try again.") from error
    outcomes: Counter[Outcome] = Counter()
    for document_id in ids:
        outcomes[await _recover(live, await _saved(copy, document_id), clock)] += 1
    return outcomes


async def _same_schema(copy: Database) -> None:
    if missing := await pending(copy):
        raise ConfigurationError(
            f"The copy's schema is another than this release's (it lacks {', '.join(missing)}). Run `anchorage "
            "migrate` with DATABASE_URL set to the copy, or use the release that it was made by."
        )


async def _saved(copy: Database, document_id: UUID) -> Saved:
    query = (
        select(Tenant.name, Collection, Document, DocumentVersion)
        .join(Tenant, Tenant.id == Document.tenant_id)
        .join(Collection, Collection.id == Document.collection_id)
        .join(DocumentVersion, DocumentVersion.id == Document.current_version_id)
        .options(undefer(DocumentVersion.content))
        .where(Document.id == document_id)
        .select_from(Document)
    )
    async with copy.session(reading=True) as session:
        row = (await session.execute(query)).one_or_none()
    if row is None:
        raise NotFoundError(f"The copy has no document {document_id} that was ready.")
    return Saved(*row)


async def _recover(live: Database, saved: Saved, clock: Clock) -> Outcome:
    async with live.session() as session:
        document = await session.get(Document, saved.document.id, with_for_update=True)
        if document is not None:
            return await _revert(session, document, saved, clock)
        removing = select(Job.id).where(
            Job.document_id == saved.document.id,
            Job.kind == JobKind.REMOVE,
            Job.state.in_([JobState.QUEUED, JobState.RUNNING]),
        )
        if await session.scalar(removing.limit(1)) is not None:
            # Its end would take the new points too.
            raise ConflictError(f"Document {saved.document.id} is being removed right now. Try again in a moment.")
        collection = await _collection(session, saved.tenant, saved.collection, clock)
        # Held from here on: whoever else brings the same document back comes before or after.
        if await session.get(Document, saved.document.id) is not None:
            return Outcome.UNCHANGED
        session.add(
            Document(
                id=saved.document.id,
                tenant_id=collection.tenant_id,
                collection_id=collection.id,
                title=saved.document.title,
                source=saved.document.source,
                current_version_id=None,
                created_at=saved.document.created_at,
                updated_at=clock(),
            )
        )
        await session.flush()
        # Under its old id its chunks have theirs again, and citations of former answers lead to them.
        _add_version(session, collection, saved, saved.version.id, saved.version.number, clock)
        return Outcome.BACK


async def _revert(session: AsyncSession, document: Document, saved: Saved, clock: Clock) -> Outcome:
    newest = await session.scalar(
        select(DocumentVersion)
        .where(DocumentVersion.document_id == document.id)
        .order_by(DocumentVersion.number.desc())
        .limit(1)
    )
    if (
        newest is not None
        and newest.state in (VersionState.ACCEPTED, VersionState.READY)
        and (newest.content_hash, newest.attributes) == (saved.version.content_hash, saved.version.attributes)
        and document.title == saved.document.title
    ):
        return Outcome.UNCHANGED
    collection = await session.get_one(Collection, document.collection_id)
    document.title, document.updated_at = saved.document.title, clock()
    _add_version(session, collection, saved, uuid4(), 1 if newest is None else newest.number + 1, clock)
    return Outcome.REVERTED


def _add_version(
    session: AsyncSession, collection: Collection, saved: Saved, version_id: UUID, number: int, clock: Clock
) -> None:
    session.add(
        DocumentVersion(
            id=version_id,
            tenant_id=collection.tenant_id,
            collection_id=collection.id,
            document_id=saved.document.id,
            number=number,
            state=VersionState.ACCEPTED,
            media_type=saved.version.media_type,
            content_hash=saved.version.content_hash,
            content=saved.version.content,
            size_bytes=saved.version.size_bytes,
            attributes=saved.version.attributes,
            chunk_count=0,
            created_at=clock(),
        )
    )
    enqueue(session, JobKind.INDEX, collection.tenant_id, saved.document.id, version_id, clock())


async def _collection(session: AsyncSession, tenant: str, saved: Collection, clock: Clock) -> Collection:
    """The live collection of that name; where it was deleted, a new one with the same settings.

    With an id of its own: answers cached under the old one, at an epoch that can't be known any more, stay unseen.
    """
    tenant_id = await session.scalar(select(Tenant.id).where(Tenant.name == tenant))
    if tenant_id is None:
        raise ConfigurationError(f"There is no tenant {tenant!r} any more: only the whole database can bring it back.")
    query = select(Collection).where(Collection.tenant_id == tenant_id, Collection.name == saved.name)
    collection = await session.scalar(query.with_for_update())
    if collection is None:
        collection = Collection(
            id=uuid4(),
            tenant_id=tenant_id,
            name=saved.name,
            epoch=0,
            # That of all live collections: by the copy's the service might not start.
            embedding=await session.scalar(select(Collection.embedding).limit(1)) or saved.embedding,
            settings=saved.settings,
            created_at=clock(),
        )
        session.add(collection)
        await session.flush()
    return collection
