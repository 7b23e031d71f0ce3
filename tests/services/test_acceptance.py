"""Accepting on Postgres, where two hosts can really do it at the same moment."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import func, select

from app.db.bootstrap import DEFAULT_TENANT_ID, bootstrap
from app.db.migrate import migrate, pending
from app.db.models import Document, DocumentVersion, Job
from app.db.session import Database
from app.ingest.accept import Acceptance, Upload
from app.ingest.jobs import Queue
from app.ingest.sandbox import Sandbox
from app.providers.protocols import EmbeddingIdentity
from app.settings import Settings

pytestmark = pytest.mark.services
IDENTITY = EmbeddingIdentity("test", "1", 4, normalised=True)


async def rows(database: Database, table: type) -> int:
    async with database.session(reading=True) as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def test_two_hosts_migrate_at_once_and_one_of_them_does_it(database_url: str) -> None:
    url = Settings(database_url=database_url).sqlalchemy_url
    hosts = [Database(url), Database(url), Database(url)]
    applied = sorted(map(len, await asyncio.gather(*map(migrate, hosts))))
    assert applied[:2] == [0, 0]
    assert applied[2] > 0
    assert await pending(hosts[0]) == []
    await asyncio.gather(*(bootstrap(host, IDENTITY) for host in hosts))
    for host in hosts:
        await host.close()


async def test_the_same_bytes_sent_by_many_at_once_are_one_document(database: Database) -> None:
    await bootstrap(database, IDENTITY)
    acceptance = Acceptance(database, Sandbox(), 1000)
    upload = Upload(b"the same bytes", "same.txt", "text/plain")
    answers = await asyncio.gather(*(acceptance.add(DEFAULT_TENANT_ID, upload) for _ in range(8)))
    assert [answer.created for answer in answers].count(True) == 1
    assert len({answer.document.id for answer in answers}) == 1
    assert [await rows(database, table) for table in (Document, DocumentVersion, Job)] == [1, 1, 1]


async def test_many_workers_share_the_jobs_and_none_is_taken_twice(database: Database) -> None:
    await bootstrap(database, IDENTITY)
    acceptance = Acceptance(database, Sandbox(), 1000)
    for number in range(24):
        await acceptance.add(DEFAULT_TENANT_ID, Upload(b"text %d" % number, f"{number}.txt", "text/plain"))
    queues = [Queue(database, 60, 5) for _ in range(6)]

    async def drain(queue: Queue) -> list[UUID]:
        taken = []
        while (claim := await queue.claim()) is not None:
            taken.append(claim.job_id)
        return taken

    taken = [job for share in await asyncio.gather(*map(drain, queues)) for job in share]
    assert (len(taken), len(set(taken))) == (24, 24)
