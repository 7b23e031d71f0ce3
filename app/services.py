"""The service's parts, opened and wired once a process."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from time import monotonic

import structlog
from sqlalchemy import select

from app.answer.conversation import Conversations
from app.answer.feedback import FeedbackBook
from app.answer.pipeline import Pipeline
from app.answer.query_log import QueryLog
from app.answer.streams import Streams
from app.auth.keys import Keyring
from app.cache.exact import ExactCache
from app.cache.store import CacheStore, MemoryStore
from app.db.bootstrap import bootstrap
from app.db.migrate import migrate, pending
from app.db.models import JobKind
from app.db.retention import forget_old
from app.db.session import Database
from app.errors import ConfigurationError, DependencyUnavailableError
from app.ingest.accept import Acceptance
from app.ingest.addresses import networks
from app.ingest.fetch import Fetcher
from app.ingest.index import Indexer
from app.ingest.jobs import Queue
from app.ingest.reindex import Reindexer
from app.ingest.sandbox import Sandbox
from app.ingest.stages import Stages
from app.ingest.worker import Chore, Worker
from app.providers.embedding import open_embedder
from app.providers.protocols import Embedder, EmbeddingIdentity, ImageDescriber, Reranker
from app.providers.registry import Answerers
from app.retrieval.options import RetrievalOptions, Weights
from app.retrieval.rerank import RerankStep
from app.retrieval.search import Retriever
from app.settings import Settings, VectorStore
from app.telemetry.metrics import Metrics
from app.vectors.bm25 import Bm25Encoder
from app.vectors.edge import EdgeIndex
from app.vectors.protocols import VectorIndex

log = structlog.get_logger()
RETRY_SECONDS = 1.0
DAY_SECONDS = 86_400.0
STREAM_EVENTS = 50_000


@dataclass(frozen=True, slots=True)
class Services:
    """All parts; ``resources`` lets go of them in reverse."""

    settings: Settings
    database: Database
    index: VectorIndex
    embedder: Embedder
    store: CacheStore
    keyring: Keyring
    acceptance: Acceptance
    fetcher: Fetcher
    retriever: Retriever
    answerers: Answerers
    describer: ImageDescriber | None
    pipeline: Pipeline
    conversations: Conversations
    streams: Streams
    feedback: FeedbackBook
    query_log: QueryLog | None
    queue: Queue
    worker: Worker
    metrics: Metrics
    resources: AsyncExitStack

    async def close(self) -> None:
        """Stop the worker, write what waits, disconnect."""
        self.worker.stop()
        await self.resources.aclose()


async def open_services(settings: Settings, metrics: Metrics, patience_s: float = 0.0) -> Services:
    """Connect everything. Embedded mode brings its own database up to date; server mode expects it so.

    ``patience_s`` is how long to wait for a database or an index that does not answer yet: after a power cut all
    services of a machine start at once.

    Raises:
        ConfigurationError: a setting, the schema or the data contradict this release.
        DependencyUnavailableError: the database or the index does not answer.
    """
    embedder = open_embedder(settings, metrics)
    deadline = monotonic() + patience_s
    while True:
        async with AsyncExitStack() as stack:
            try:
                return await _open(settings, metrics, embedder, stack)
            except DependencyUnavailableError as error:
                if monotonic() + RETRY_SECONDS > deadline:
                    raise
                log.warning("start.waiting", dependency=error.dependency, detail=error.detail)
        await asyncio.sleep(RETRY_SECONDS)


async def _open(settings: Settings, metrics: Metrics, embedder: Embedder, stack: AsyncExitStack) -> Services:
    database = Database(settings.sqlalchemy_url, settings.database_pool_size)
    stack.push_async_callback(database.close)
    async with database.session(reading=True) as session:
        await session.execute(select(1))
    if settings.embedded:
        await migrate(database)
    elif missing := await pending(database):
        raise ConfigurationError(
            f"The database lacks the migrations {', '.join(missing)}. Run `anchorage migrate` first; site.yml does."
        )
    await bootstrap(database, embedder.identity)
    index = open_index(settings, embedder.identity, database)
    stack.push_async_callback(index.close)
    await index.prepare()
    sparse = Bm25Encoder()
    store = open_store(settings)
    stack.push_async_callback(store.close)
    reranker = open_reranker(settings)
    if reranker is not None:
        stack.push_async_callback(reranker.close)
    retriever = Retriever(database, index, embedder, sparse, RerankStep(reranker, settings.rerank_candidates))
    answerers = Answerers(settings, metrics)
    stack.push_async_callback(answerers.close)
    describer = answerers.describer()
    query_log = QueryLog(database) if settings.enable_query_logging else None
    if query_log is not None:
        stack.push_async_callback(query_log.close)
    # In memory it has room of its own: streams would push answers out of the cache.
    stream_store = store if settings.redis_dsn is not None else MemoryStore(STREAM_EVENTS)
    streams = Streams(stream_store, settings.stream_grace_seconds, settings.stream_keep_seconds)
    stack.push_async_callback(streams.close)
    conversations = Conversations(database, settings.session_timeout_hours)
    sandbox = Sandbox()
    stack.push_async_callback(sandbox.close)
    queue = Queue(database, settings.job_lease_seconds, settings.job_max_attempts)
    indexer = Indexer(database, index, Stages(database, sandbox, index, embedder, sparse, describer))
    handlers = {JobKind.INDEX: indexer.index, JobKind.REMOVE: indexer.remove}
    reindexer = Reindexer(database, index, embedder, sparse)
    chores = [
        Chore("index.repair", reindexer.repair, settings.index_check_hours * 3600),
        Chore("retention", partial(_forget, database, settings), DAY_SECONDS),
    ]
    # Not before all else is there: a start that is tried again uses the same one.
    stack.push_async_callback(embedder.close)
    return Services(
        settings=settings,
        database=database,
        index=index,
        embedder=embedder,
        store=store,
        keyring=Keyring(database, secret_key(settings)),
        acceptance=Acceptance(database, sandbox, settings.max_upload_bytes, takes_images=describer is not None),
        fetcher=Fetcher(
            max_bytes=settings.max_upload_bytes,
            timeout_s=settings.url_fetch_timeout,
            max_redirects=settings.url_fetch_max_redirects,
            allowed=networks(settings.url_fetch_allowed_networks),
        ),
        retriever=retriever,
        answerers=answerers,
        describer=describer,
        pipeline=Pipeline(
            database=database,
            retriever=retriever,
            embedder=embedder,
            answerers=answerers,
            cache=ExactCache(store, settings.cache_ttl),
            query_log=query_log,
            metrics=metrics,
            conversations=conversations,
            defaults=retrieval_defaults(settings),
            max_results=settings.max_retrieval_results,
        ),
        conversations=conversations,
        streams=streams,
        feedback=FeedbackBook(database, query_log),
        query_log=query_log,
        queue=queue,
        worker=Worker(queue, handlers, settings.job_poll_seconds, settings.worker_concurrency, chores),
        metrics=metrics,
        resources=stack.pop_all(),
    )


@asynccontextmanager
async def open_reindexer(settings: Settings) -> AsyncIterator[Reindexer]:
    """What `anchorage reindex` needs; unlike the service, it also takes documents of another embedding model.

    Raises:
        ConfigurationError, DependencyUnavailableError: as ``open_services``.
    """
    embedder = open_embedder(settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(embedder.close)
        database = Database(settings.sqlalchemy_url, settings.database_pool_size)
        stack.push_async_callback(database.close)
        if missing := await pending(database):
            raise ConfigurationError(
                f"The database lacks the migrations {', '.join(missing)}. Run `anchorage migrate`."
            )
        index = open_index(settings, embedder.identity, database)
        stack.push_async_callback(index.close)
        await index.prepare()
        yield Reindexer(database, index, embedder, Bm25Encoder())


def secret_key(settings: Settings) -> str:
    """The key of the keys' hashes; embedded mode makes one at first and keeps it beside its database."""
    if settings.secret_key is not None:
        return settings.secret_key.get_secret_value()
    if not settings.embedded:
        raise ConfigurationError("SECRET_KEY is not set. Make one with: openssl rand -hex 32")
    file = settings.data_dir / "secret-key"
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        with os.fdopen(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as handle:
            handle.write(secrets.token_hex(32))
    except FileExistsError:
        pass
    return file.read_text()


async def _forget(database: Database, settings: Settings) -> int:
    return await forget_old(
        database,
        datetime.now(UTC),
        jobs=timedelta(days=settings.job_keep_days),
        queries=timedelta(days=settings.query_log_keep_days),
    )


def retrieval_defaults(settings: Settings) -> RetrievalOptions:
    """How a question is looked up when neither it nor its collection says otherwise."""
    return RetrievalOptions(
        strategy=settings.default_retrieval_strategy,
        fusion=settings.fusion,
        weights=Weights(settings.fusion_dense_weight, 1 - settings.fusion_dense_weight),
        threshold=settings.similarity_threshold,
        rerank=settings.rerank_by_default,
    )


def open_reranker(settings: Settings) -> Reranker | None:
    """The server that RERANK_URL names."""
    if settings.rerank_url is None:
        return None
    from app.providers.rerank import HttpReranker

    api_key = settings.rerank_api_key.get_secret_value() if settings.rerank_api_key else None
    return HttpReranker(
        settings.rerank_url, settings.rerank_model, settings.rerank_form, api_key, settings.rerank_timeout
    )


def open_index(settings: Settings, identity: EmbeddingIdentity, database: Database) -> VectorIndex:
    """The store that VECTOR_STORE_TYPE names; unset: Qdrant's server where one is named, else its engine here.

    Raises:
        ConfigurationError: the store's own settings are missing, or it does not go with the database.
    """
    address = settings.qdrant_address
    store = settings.vector_store_type
    if store is None and address is None and not settings.embedded:
        raise ConfigurationError(
            "QDRANT_URL or QDRANT_HOST is not set; server mode needs a Qdrant server, or VECTOR_STORE_TYPE=pgvector."
        )
    if store is VectorStore.PGVECTOR:
        if database.is_sqlite:
            raise ConfigurationError("VECTOR_STORE_TYPE=pgvector needs a Postgres: set DATABASE_URL.")
        from app.vectors.pgvector import PgvectorIndex

        return PgvectorIndex(database, settings.qdrant_collection_name, identity)
    if store is VectorStore.EDGE and not settings.embedded:
        raise ConfigurationError("VECTOR_STORE_TYPE=edge is one process; with DATABASE_URL use qdrant or pgvector.")
    if store is VectorStore.EDGE or (store is None and address is None):
        return EdgeIndex(settings.data_dir / "index" / identity.fingerprint, identity.dimension)
    if address is None:
        raise ConfigurationError("VECTOR_STORE_TYPE=qdrant needs QDRANT_URL or QDRANT_HOST.")
    # Its client takes most of a second to load, which embedded mode need not wait for; so does Redis's below.
    from app.vectors.qdrant import QdrantIndex

    api_key = settings.qdrant_api_key.get_secret_value() if settings.qdrant_api_key else None
    return QdrantIndex(
        address, settings.qdrant_collection_name, identity, api_key=api_key, timeout_s=settings.qdrant_timeout
    )


def open_store(settings: Settings) -> CacheStore:
    """Redis where it is named, else this process's memory."""
    if settings.redis_dsn is None:
        return MemoryStore(settings.max_cache_size)
    from app.cache.redis import RedisStore

    password = settings.redis_password.get_secret_value() if settings.redis_password else None
    return RedisStore(settings.redis_dsn, password, settings.redis_pool_size, settings.redis_socket_timeout)
