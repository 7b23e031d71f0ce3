"""`anchorage reindex` in server mode: nobody who asks notices, and no document that comes meanwhile is missed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import UUID

import pytest
from sqlalchemy import select

from app.db.bootstrap import DEFAULT_COLLECTION_ID, DEFAULT_TENANT_ID
from app.db.models import Chunk, Job
from app.db.session import Database
from app.ingest.accept import Upload
from app.services import Services, open_reindexer, open_services
from app.telemetry.metrics import Metrics
from app.vectors.bm25 import Bm25Encoder
from app.vectors.protocols import Scope
from tests.lab.qdrant_standin.process import Standin

from .test_documents import settings_of

pytestmark = pytest.mark.services
SCOPE = Scope(DEFAULT_TENANT_ID, DEFAULT_COLLECTION_ID)
BEFORE, MEANWHILE = 40, 20


@pytest.fixture(scope="module")
def qdrant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standin]:
    server = Standin(tmp_path_factory.mktemp("qdrant")).start()
    yield server
    server.end()


def upload(number: int) -> Upload:
    return Upload(f"# Harbour {number}\n\nThe berth called quay{number} is {number} m deep.".encode(), f"{number}.md")


async def hits(services: Services, word: str) -> list[UUID]:
    _, sparse = await services.index.search(SCOPE, None, Bm25Encoder().query(word), 10)
    return [hit.chunk_id for hit in sparse]


async def no_job_left(database: Database) -> None:
    while True:
        async with database.session(reading=True) as session:
            if set(await session.scalars(select(Job.state))) == {"succeeded"}:
                return
        await asyncio.sleep(0.05)


async def test_a_rebuild_goes_unnoticed(database: Database, database_url: str, qdrant: Standin) -> None:
    settings = settings_of(database_url, qdrant)
    services = await open_services(settings, Metrics("test"))
    for number in range(BEFORE):
        await services.acceptance.add(DEFAULT_TENANT_ID, upload(number))
    await services.worker.run_until_idle()
    working = asyncio.create_task(services.worker.run())
    over = asyncio.Event()
    asked = 0

    async def ask() -> None:
        nonlocal asked
        while not over.is_set():
            assert len(await hits(services, f"quay{asked % BEFORE}")) == 1
            asked += 1

    async def feed() -> None:
        for number in range(BEFORE, BEFORE + MEANWHILE):
            await services.acceptance.add(DEFAULT_TENANT_ID, upload(number))
            await asyncio.sleep(0.02)

    asking, feeding = asyncio.create_task(ask()), asyncio.create_task(feed())
    async with open_reindexer(settings) as reindexer:
        for _ in range(3):
            assert await reindexer.rebuild() >= BEFORE
    await feeding
    over.set()
    await asking
    async with asyncio.timeout(60):
        await no_job_left(database)
    services.worker.stop()
    await working
    async with database.session(reading=True) as session:
        chunks = set(await session.scalars(select(Chunk.id)))
    assert len(chunks) == BEFORE + MEANWHILE
    assert set(await services.index.page(None, 1000)) == chunks
    assert asked > 20
    await services.close()
