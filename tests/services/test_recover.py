"""Documents come back on Postgres, also when two do it at the same moment."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import func, select, update

from app.db.bootstrap import DEFAULT_TENANT_ID, bootstrap
from app.db.models import Document, DocumentVersion, Job, JobKind, VersionState
from app.db.session import Database
from app.errors import ConflictError
from app.ingest.accept import Acceptance, Upload, delete_document
from app.ingest.recover import Outcome, recover_collection, recover_document
from app.ingest.sandbox import Sandbox
from app.providers.protocols import EmbeddingIdentity
from app.settings import Settings
from tests.services.postgres import Postgres

pytestmark = pytest.mark.services
IDENTITY = EmbeddingIdentity("test", "1", 4, normalised=True)
DOCUMENTS = 12


async def fed(database: Database) -> list[UUID]:
    """Documents that answer."""
    await bootstrap(database, IDENTITY)
    acceptance = Acceptance(database, Sandbox(), 1000)
    uploads = [Upload(b"text %d" % number, f"{number}.txt", "text/plain") for number in range(DOCUMENTS)]
    accepted = [await acceptance.add(DEFAULT_TENANT_ID, upload) for upload in uploads]
    async with database.session() as session:
        for one in accepted:
            shown = update(Document).where(Document.id == one.document.id).values(current_version_id=one.version.id)
            await session.execute(shown)
        await session.execute(update(DocumentVersion).values(state=VersionState.READY, ready_at=datetime.now(UTC)))
    return [one.document.id for one in accepted]


async def ended(database: Database) -> None:
    """As if workers had done all there was to do."""
    async with database.session() as session:
        await session.execute(update(Job).values(state="succeeded"))


def copied(postgres: Postgres, database_url: str) -> str:
    """The database as it is now, under another name; nobody may be connected to it."""
    name = database_url.rpartition("/")[2]
    with psycopg.connect(
        host="127.0.0.1", port=postgres.port, user="owner", dbname="postgres", autocommit=True
    ) as connection:
        connection.execute(f'CREATE DATABASE "{name}_copy" TEMPLATE "{name}"'.encode())
    return f"{database_url}_copy"


async def test_two_who_bring_the_same_collection_back_make_each_document_once(
    database: Database, database_url: str, postgres: Postgres
) -> None:
    ids = await fed(database)
    await database.engine.dispose()
    copy = Database(Settings(database_url=copied(postgres, database_url)).sqlalchemy_url)
    lost = ids[: DOCUMENTS // 2]
    for document_id in lost:
        await delete_document(database, DEFAULT_TENANT_ID, document_id)
    with pytest.raises(ConflictError, match="being removed right now"):
        await recover_document(copy, database, lost[0])
    await ended(database)

    both = await asyncio.gather(*(recover_collection(copy, database, "default", "default") for _ in range(2)))
    await copy.close()
    assert sum(both, Counter()) == {Outcome.BACK: len(lost), Outcome.UNCHANGED: 2 * DOCUMENTS - len(lost)}
    async with database.session(reading=True) as session:
        assert await session.scalar(select(func.count()).select_from(Document)) == DOCUMENTS
        waiting = select(Job.document_id).where(Job.kind == JobKind.INDEX, Job.state == "queued")
        assert sorted(await session.scalars(waiting)) == sorted(lost)
