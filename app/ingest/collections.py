"""Collections: made, changed, and taken away with all that is in them."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID, uuid4

from sqlalchemy import delete, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.bootstrap import DEFAULT, find_collection
from app.db.collection_settings import CollectionSettings
from app.db.models import Collection, Document, Job, JobKind, JobState
from app.db.session import Database
from app.errors import ConflictError
from app.ingest.jobs import Clock, utc_now

# Documents may come in while the others are being locked; then it is tried again.
DELETE_ATTEMPTS = 5
JOBS_A_STATEMENT = 1000


async def create_collection(
    database: Database,
    tenant_id: UUID,
    name: str,
    settings: CollectionSettings,
    embedding: str,
    clock: Clock = utc_now,
) -> Collection:
    """Make an empty collection. Raises ConflictError: the tenant has one of that name."""
    collection = Collection(
        id=uuid4(),
        tenant_id=tenant_id,
        name=name,
        epoch=0,
        embedding=embedding,
        settings=settings.written(),
        created_at=clock(),
    )
    try:
        async with database.session() as session:
            session.add(collection)
    except IntegrityError as error:
        raise ConflictError(f"There is a collection {name!r} already. Change it with PATCH.") from error
    return collection


async def document_counts(session: AsyncSession, collection_ids: Sequence[UUID]) -> dict[UUID, int]:
    """How many documents each of these collections has; none is not named."""
    rows = await session.execute(
        select(Document.collection_id, func.count())
        .where(Document.collection_id.in_(collection_ids))
        .group_by(Document.collection_id)
    )
    return {row[0]: row[1] for row in rows}


async def delete_collection(database: Database, tenant_id: UUID, name: str, clock: Clock = utc_now) -> int:
    """Make a collection and its documents gone, for every answer from now on; how many documents there were.

    Jobs take out their points. Raises NotFoundError; ConflictError for the default collection.
    """
    if name == DEFAULT:
        raise ConflictError("The default collection can't be deleted. Delete its documents one by one.")
    for _ in range(DELETE_ATTEMPTS):
        async with database.session() as session:
            collection = await find_collection(session, tenant_id, name)
            # Documents before their collection, as everything else locks them: else two could wait for each other.
            locked = await _documents(session, collection, lock=True)
            collection = await find_collection(session, tenant_id, name, lock=True)
            if set(await _documents(session, collection)) <= set(locked):
                await _remove(session, collection, locked, clock)
                return len(locked)
    raise ConflictError(f"Documents are being added to {name!r} all the time. Stop that, then delete it again.")


async def _documents(session: AsyncSession, collection: Collection, *, lock: bool = False) -> list[UUID]:
    query = select(Document.id).where(Document.collection_id == collection.id).order_by(Document.id)
    return list(await session.scalars(query.with_for_update() if lock else query))


async def _remove(session: AsyncSession, collection: Collection, documents: Sequence[UUID], clock: Clock) -> None:
    now = clock()
    jobs = [
        {
            "id": uuid4(),
            "tenant_id": collection.tenant_id,
            "kind": JobKind.REMOVE,
            "document_id": document_id,
            "state": JobState.QUEUED,
            "stage": "accepted",
            "attempts": 0,
            "run_at": now,
            "created_at": now,
        }
        for document_id in documents
    ]
    for start in range(0, len(jobs), JOBS_A_STATEMENT):
        await session.execute(insert(Job), jobs[start : start + JOBS_A_STATEMENT])
    await session.execute(delete(Document).where(Document.collection_id == collection.id))
    await session.delete(collection)
