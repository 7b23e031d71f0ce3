"""The password of the database and the keys of Qdrant are changed under a service that runs."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy import make_url, text

from app.backends import open_database
from app.errors import DependencyUnavailableError
from app.providers.protocols import EmbeddingIdentity
from app.settings import Settings
from app.vectors.qdrant import QdrantIndex
from tests.lab.qdrant_standin.process import KEY, Standin
from tests.services.postgres import Postgres

pytestmark = pytest.mark.services
IDENTITY = EmbeddingIdentity("restart", "1", 8, normalised=True)


@pytest.fixture
def guarded(postgres: Postgres) -> str:
    """A URL of a new database for a role that must give its password, ``old``."""
    url, role = postgres.database(), f"r{uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {role} LOGIN PASSWORD 'old'".encode())
    postgres.ask_for_the_password_of(role)
    return url.replace("owner@", f"{role}@")


def set_password(url: str, password: str) -> None:
    role = make_url(url).username or ""
    with psycopg.connect(url.replace(role, "owner", 1), autocommit=True) as connection:
        connection.execute(f"ALTER ROLE {role} PASSWORD '{password}'".encode())


async def connect(url: str, password: str, other: str | None) -> None:
    """Raises DependencyUnavailableError when the log-in is refused."""
    database = open_database(Settings(database_url=url, database_password=password, database_password_other=other))
    try:
        async with database.session(reading=True) as session:
            await session.execute(text("SELECT 1"))
    finally:
        await database.close()


def restart_slowly(server: Standin) -> None:
    server.end()
    time.sleep(0.5)
    server.start()


async def test_whoever_knows_both_passwords_logs_in_before_and_after_the_server_changes(guarded: str) -> None:
    await connect(guarded, "new", "old")
    set_password(guarded, "new")
    await connect(guarded, "new", "old")
    await connect(guarded, "old", "new")
    await connect(guarded, "new", None)
    for password, other in (("old", None), ("old", "older")):
        with pytest.raises(DependencyUnavailableError):
            await connect(guarded, password, other)


async def test_questions_wait_for_a_qdrant_that_restarts_and_no_longer_than_that(tmp_path: Path) -> None:
    server = Standin(tmp_path).start()
    index = QdrantIndex(server.url, "restart", IDENTITY, KEY, patience_s=10)
    await index.prepare()
    restart = asyncio.create_task(asyncio.to_thread(restart_slowly, server))
    answered = 0
    while not restart.done():
        assert await index.count() == 0
        answered += 1
        await asyncio.sleep(0.02)
    await restart
    assert answered > 1
    await index.close()

    impatient = QdrantIndex(server.url, "restart", IDENTITY, KEY, patience_s=1)
    server.end()
    for least, most in ((1.0, 3.0), (0.0, 0.5)):
        start = time.monotonic()
        with pytest.raises(DependencyUnavailableError):
            await impatient.count()
        assert least <= time.monotonic() - start <= most
    await impatient.close()
