"""Real servers for a session, each started by the suite on a free loopback port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from app.db.migrate import migrate
from app.db.session import Database
from app.settings import Settings

from .postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres().start()
    yield server
    server.stop()


@pytest.fixture
def database_url(postgres: Postgres) -> str:
    """An empty database."""
    return postgres.database()


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A database with this release's schema."""
    made = Database(Settings(database_url=database_url).sqlalchemy_url)
    await migrate(made)
    yield made
    await made.close()
