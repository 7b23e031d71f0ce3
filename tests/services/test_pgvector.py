"""The service with its vectors in Postgres: documents found, filtered, replaced, removed; and what a start refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
import pytest_asyncio

from app.db.bootstrap import DEFAULT_COLLECTION_ID, DEFAULT_TENANT_ID
from app.db.migrate import migrate
from app.db.session import Database
from app.errors import ConfigurationError
from app.ingest.accept import Upload, delete_document
from app.providers.protocols import EmbeddingIdentity
from app.retrieval.options import RetrievalOptions
from app.services import Services, open_services
from app.settings import Settings, Strategy, VectorStore
from app.telemetry.metrics import Metrics
from app.vectors.filter_reader import parse_filter
from app.vectors.pgvector import PgvectorIndex
from app.vectors.protocols import Scope
from tests.services.postgres import Postgres, pgvector_programs

pytestmark = pytest.mark.services
SCOPE = Scope(DEFAULT_TENANT_ID, DEFAULT_COLLECTION_ID)


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    server = Postgres(pgvector_programs()).start()
    yield server
    server.stop()


@pytest_asyncio.fixture
async def services(postgres: Postgres) -> AsyncIterator[Services]:
    settings = Settings(database_url=postgres.database(), vector_store_type=VectorStore.PGVECTOR, secret_key="s" * 32)
    database = Database(settings.sqlalchemy_url)
    await migrate(database)
    await database.close()
    opened = await open_services(settings, Metrics("test"))
    yield opened
    await opened.close()


async def found(services: Services, question: str, options: RetrievalOptions) -> list[str]:
    return [passage.source for passage in (await services.retriever.search(SCOPE, question, options)).passages]


@pytest.mark.parametrize("exact", [True, False])
async def test_documents_are_found_filtered_replaced_and_removed(
    services: Services, exact: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.vectors.pgvector.EXACT_POINTS", 10_000 if exact else -1)
    texts = {"berth.md": "A berth costs 34 euros a night.", "crane.md": "The crane lifts up to nine tons."}
    accepted = {
        source: await services.acceptance.add(DEFAULT_TENANT_ID, Upload(text.encode(), source))
        for source, text in texts.items()
    }
    await services.worker.run_until_idle()
    for strategy in Strategy:
        options = RetrievalOptions(strategy=strategy)
        assert (await found(services, "What does a berth cost?", options))[0] == "berth.md"
        only = RetrievalOptions(strategy=strategy, filters=parse_filter({"source": "crane.md"}))
        assert await found(services, "What does a berth or a crane cost?", only) == ["crane.md"]
    assert (await found(services, "berth", RetrievalOptions(mmr_lambda=0.5)))[0] == "berth.md"
    changed = Upload(b"A berth costs 40 euros a night.", "berth.md")
    document = accepted["berth.md"].document
    await services.acceptance.replace(DEFAULT_TENANT_ID, document.id, changed)
    await services.worker.run_until_idle()
    assert await services.index.count(document_id=document.id) == 1
    await delete_document(services.database, DEFAULT_TENANT_ID, document.id)
    await services.worker.run_until_idle()
    assert await services.index.count() == 1
    assert await found(services, "berth", RetrievalOptions(strategy=Strategy.SPARSE)) == []


async def test_another_models_vectors_are_kept_apart(services: Services) -> None:
    other = PgvectorIndex(services.database, "anchorage", EmbeddingIdentity("other", "1", 8, normalised=True))
    await other.prepare()
    await services.acceptance.add(DEFAULT_TENANT_ID, Upload(b"A berth costs 34 euros.", "a.md"))
    await services.worker.run_until_idle()
    assert (await services.index.count(), await other.count()) == (1, 0)


async def test_a_user_who_may_not_switch_it_on_is_told_what_to_run(postgres: Postgres) -> None:
    url = postgres.database()
    name = url.rsplit("/", 1)[1]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE r{name} LOGIN".encode())
        connection.execute(f'ALTER DATABASE "{name}" OWNER TO r{name}'.encode())
    database = Database(Settings(database_url=url.replace("owner@", f"r{name}@")).sqlalchemy_url)
    index = PgvectorIndex(database, "anchorage", EmbeddingIdentity("m", "1", 8, normalised=True))
    with pytest.raises(ConfigurationError, match="CREATE EXTENSION vector"):
        await index.prepare()
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
    await index.prepare()
    await index.check()
    await database.close()


async def test_a_postgres_without_it_names_the_package() -> None:
    """Where the machine's own Postgres has it, there is nothing to refuse."""
    server = Postgres().start()
    try:
        database = Database(Settings(database_url=server.database()).sqlalchemy_url)
        index = PgvectorIndex(database, "anchorage", EmbeddingIdentity("m", "1", 8, normalised=True))
        with psycopg.connect(server.database()) as connection:
            row = connection.execute("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'").fetchone()
        if row == (0,):
            with pytest.raises(ConfigurationError, match="postgresql-17-pgvector"):
                await index.prepare()
        else:
            await index.prepare()
        await database.close()
    finally:
        server.stop()
