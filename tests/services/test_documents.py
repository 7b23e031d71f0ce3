"""Documents in server mode: a real Postgres, and the lab's Qdrant as a process of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from sqlalchemy import func, select

from app.db.bootstrap import DEFAULT_TENANT_ID
from app.db.migrate import migrate
from app.db.models import Chunk, Collection, Document, DocumentVersion, Job
from app.db.session import Database
from app.errors import ConfigurationError
from app.ingest.accept import Upload, delete_document
from app.services import Services, open_services
from app.settings import Settings
from app.telemetry.metrics import Metrics
from tests.lab.qdrant_standin.process import KEY, Standin

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def qdrant(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Standin]:
    server = Standin(tmp_path_factory.mktemp("qdrant")).start()
    yield server
    server.end()


def settings_of(database_url: str, qdrant: Standin) -> Settings:
    return Settings(
        database_url=database_url,
        qdrant_url=qdrant.url,
        qdrant_api_key=KEY,
        qdrant_collection_name=database_url.rsplit("/", 1)[1],
        secret_key="s" * 32,
    )


@pytest_asyncio.fixture
async def services(database: Database, database_url: str, qdrant: Standin) -> AsyncIterator[Services]:
    opened = await open_services(settings_of(database_url, qdrant), Metrics("test"))
    yield opened
    await opened.close()


async def counts(services: Services) -> list[int]:
    """Rows of documents and chunks, and points of the index."""
    async with services.database.session(reading=True) as session:
        rows = [await session.scalar(select(func.count()).select_from(table)) or 0 for table in (Document, Chunk)]
    return [*rows, await services.index.count()]


async def test_a_database_without_this_releases_schema_is_refused(database_url: str, qdrant: Standin) -> None:
    with pytest.raises(ConfigurationError, match="anchorage migrate"):
        await open_services(settings_of(database_url, qdrant), Metrics("test"))


async def test_a_document_is_indexed_replaced_and_removed(services: Services) -> None:
    upload = Upload(b"# Head\n\nThe first text.\n\n## Other\n\nMore of it.", "a.md")
    first = await services.acceptance.add(DEFAULT_TENANT_ID, upload)
    await services.worker.run_until_idle()
    assert await counts(services) == [1, 2, 2]
    second = await services.acceptance.replace(
        DEFAULT_TENANT_ID, first.document.id, Upload(b"# Head\n\nOnly this.", "a.md")
    )
    await services.worker.run_until_idle()
    assert await counts(services) == [1, 1, 1]
    assert await services.index.count(version_id=second.version.id) == 1
    async with services.database.session(reading=True) as session:
        assert (await session.get_one(DocumentVersion, first.version.id)).state == "superseded"
        assert (await session.scalars(select(Collection.epoch))).one() == 2
    await delete_document(services.database, DEFAULT_TENANT_ID, first.document.id)
    await services.worker.run_until_idle()
    assert await counts(services) == [0, 0, 0]
    async with services.database.session(reading=True) as session:
        assert set(await session.scalars(select(Job.state))) == {"succeeded"}
        assert (await session.scalars(select(Collection.epoch))).one() == 3


async def test_migrating_again_changes_nothing(database: Database) -> None:
    assert await migrate(database) == []
