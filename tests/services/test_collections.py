"""Collections, sessions and ratings on Postgres, where many really do it at the same moment."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from sqlalchemy import func, select

from app.answer.conversation import Conversations, Said
from app.answer.feedback import FeedbackBook
from app.answer.query_log import QueryLog
from app.db.bootstrap import DEFAULT_COLLECTION_ID, DEFAULT_TENANT_ID, bootstrap
from app.db.collection_settings import CollectionSettings
from app.db.models import Chunk, Collection, Document, DocumentVersion, Feedback, Job, Session, Turn
from app.db.session import Database
from app.errors import AnchorageError, ConflictError, NotFoundError
from app.ingest.accept import Acceptance, Upload, delete_document
from app.ingest.collections import create_collection, delete_collection
from app.ingest.sandbox import Sandbox
from app.providers.protocols import EmbeddingIdentity

pytestmark = pytest.mark.services
IDENTITY = EmbeddingIdentity("test", "1", 4, normalised=True)


async def rows(database: Database, table: type) -> int:
    async with database.session(reading=True) as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def made(database: Database, name: str) -> Collection:
    return await create_collection(database, DEFAULT_TENANT_ID, name, CollectionSettings(), str(IDENTITY))


async def test_one_of_many_who_make_the_same_collection_does(database: Database) -> None:
    await bootstrap(database, IDENTITY)
    outcomes = await asyncio.gather(*(made(database, "manuals") for _ in range(6)), return_exceptions=True)
    assert sum(isinstance(outcome, Collection) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, ConflictError) for outcome in outcomes) == 5


async def test_a_collection_that_goes_while_documents_come_and_go_leaves_nothing(database: Database) -> None:
    await bootstrap(database, IDENTITY)
    await made(database, "manuals")
    acceptance = Acceptance(database, Sandbox(), 1000)

    async def come(number: int) -> bool:
        upload = Upload(b"text %d" % number, f"{number}.txt", "text/plain", collection="manuals")
        try:
            accepted = await acceptance.add(DEFAULT_TENANT_ID, upload)
            if number % 3 == 0:
                await delete_document(database, DEFAULT_TENANT_ID, accepted.document.id)
        except NotFoundError:
            return False
        return True

    first = await asyncio.gather(*(come(number) for number in range(20)))
    coming = [asyncio.create_task(come(number)) for number in range(20, 60)]
    await asyncio.sleep(0.05)
    while True:
        try:
            await delete_collection(database, DEFAULT_TENANT_ID, "manuals")
            break
        except ConflictError:
            continue
    came = sum(first) + sum(await asyncio.gather(*coming))
    assert came >= 20
    assert [await rows(database, table) for table in (Document, DocumentVersion, Chunk)] == [0, 0, 0]
    async with database.session(reading=True) as session:
        removals = set(await session.scalars(select(Job.document_id).where(Job.kind == "remove")))
        indexed = set(await session.scalars(select(Job.document_id).where(Job.kind == "index")))
    # Whatever may have points has a job that takes them out.
    assert removals == indexed


async def test_turns_of_many_at_once_are_in_a_row(database: Database) -> None:
    await bootstrap(database, IDENTITY)
    conversations = Conversations(database, 1.0)
    session = await conversations.start(DEFAULT_TENANT_ID, DEFAULT_COLLECTION_ID)
    said = Said("r", "q", "q", "a", True, [])
    await asyncio.gather(
        *(conversations.say(DEFAULT_TENANT_ID, DEFAULT_COLLECTION_ID, session.id, said) for _ in range(8))
    )
    async with database.session(reading=True) as reading:
        positions = list(await reading.scalars(select(Turn.position).order_by(Turn.position)))
    assert positions == list(range(1, 9))
    late = Conversations(database, 1.0, clock=lambda: datetime(2100, 1, 1, tzinfo=UTC))
    assert sorted(await asyncio.gather(late.sweep(), late.sweep())) == [0, 1]
    assert [await rows(database, table) for table in (Session, Turn)] == [0, 0]


async def test_a_rating_waits_for_the_record_of_another_worker_and_many_make_one(database: Database) -> None:
    await bootstrap(database, IDENTITY)
    here, elsewhere = QueryLog(database), QueryLog(database)
    elsewhere.add(
        {
            "request_id": "r",
            "tenant_id": DEFAULT_TENANT_ID,
            "collection_id": DEFAULT_COLLECTION_ID,
            "query": "q",
            "grounded": True,
            "provider": "extractive",
            "cache_status": "miss",
            "timings_ms": {},
            "created_at": datetime.now(UTC),
        }
    )
    book = FeedbackBook(database, here)
    outcomes = await asyncio.gather(*(book.add(DEFAULT_TENANT_ID, "r", rating, None, None) for rating in (1, -1, 1)))
    assert sum(first for _, first in outcomes) == 1
    assert await rows(database, Feedback) == 1
    with pytest.raises(AnchorageError):
        await book.add(DEFAULT_TENANT_ID, "unknown", 1, None, None)
    await elsewhere.close()
