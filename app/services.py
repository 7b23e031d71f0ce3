"""The service's parts, opened and wired once a process."""

from __future__ import annotations

import asyncio
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
from app.answer.query_hash import QueryHasher
from app.answer.query_log import QueryLog
from app.answer.streams import Streams
from app.auth.keys import Keyring
from app.backends import (
    open_database,
    open_index,
    open_keyring,
    open_reranker,
    open_store,
    open_stream_store,
    retrieval_defaults,
    secret_key,
)
from app.cache.exact import ExactCache
from app.cache.store import CacheStore
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
from app.providers.embedding.measured import MeasuredEmbedder
from app.providers.protocols import Embedder, ImageDescriber
from app.providers.registry import Answerers
from app.retrieval.rerank import RerankStep
from app.retrieval.search import Retriever
from app.settings import Settings
from app.state import Parts
from app.telemetry.metrics import Metrics
from app.telemetry.pool import watch_pool
from app.telemetry.traces import Tracer
from app.vectors.bm25 import Bm25Encoder
from app.vectors.protocols import VectorIndex

log = structlog.get_logger(__name__)
RETRY_SECONDS = 1.0
DAY_SECONDS = 86_400.0


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
    parts: Parts
    resources: AsyncExitStack

    async def close(self) -> None:
        """Stop the worker, write what waits, disconnect."""
        self.worker.stop()
        await self.resources.aclose()


async def open_services(
    settings: Settings, metrics: Metrics, patience_s: float = 0.0, tracer: Tracer | None = None
) -> Services:
    """Connect everything. Embedded mode brings its own database up to date; server mode expects it so.

    ``patience_s`` is how long to wait for a database or an index that does not answer yet: after a power cut all
    services of a machine start at once.

    Raises:
        ConfigurationError: a setting, the schema or the data contradict this release.
        DependencyUnavailableError: the database or the index does not answer.
    """
    embedder = MeasuredEmbedder(open_embedder(settings, metrics), metrics)
    deadline = monotonic() + patience_s
    while True:
        async with AsyncExitStack() as stack:
            try:
                return await _open(settings, metrics, embedder, tracer, stack)
            except DependencyUnavailableError as error:
                if monotonic() + RETRY_SECONDS > deadline:
                    raise
                log.warning("start.waiting", dependency=error.dependency, detail=error.detail)
        await asyncio.sleep(RETRY_SECONDS)


async def _open(
    settings: Settings, metrics: Metrics, embedder: Embedder, tracer: Tracer | None, stack: AsyncExitStack
) -> Services:
    base = await _base(settings, embedder, metrics, stack)
    query_log = QueryLog(base.database) if settings.enable_query_logging else None
    if query_log is not None:
        stack.push_async_callback(query_log.close)
    answerers = Answerers(settings, metrics)
    stack.push_async_callback(answerers.close)
    sandbox = Sandbox()
    stack.push_async_callback(sandbox.close)
    describer = answerers.describer()
    queue = Queue(base.database, settings.job_lease_seconds, settings.job_max_attempts)
    retriever = _retriever(base, stack)
    conversations = Conversations(base.database, settings.session_timeout_hours)
    # Not before all else is there: a start that is tried again uses the same one.
    stack.push_async_callback(embedder.close)
    return Services(
        settings=settings,
        database=base.database,
        index=base.index,
        embedder=embedder,
        store=base.store,
        keyring=open_keyring(settings, base.database),
        acceptance=Acceptance(
            base.database,
            sandbox,
            settings.max_upload_bytes,
            takes_images=describer is not None,
            wake=queue.wake,
        ),
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
            database=base.database,
            retriever=retriever,
            embedder=embedder,
            answerers=answerers,
            cache=ExactCache(base.store, settings.cache_ttl),
            query_log=query_log,
            metrics=metrics,
            conversations=conversations,
            defaults=retrieval_defaults(settings),
            max_results=settings.max_retrieval_results,
            hasher=QueryHasher(secret_key(settings)),
        ),
        conversations=conversations,
        streams=_streams(base, stack),
        feedback=FeedbackBook(base.database, query_log),
        query_log=query_log,
        queue=queue,
        worker=_worker(base, queue, sandbox, describer, metrics, tracer),
        metrics=metrics,
        parts=Parts(base.database, base.index, base.store),
        resources=stack.pop_all(),
    )


@dataclass(frozen=True, slots=True)
class _Base:
    """What everything else stands on."""

    settings: Settings
    database: Database
    index: VectorIndex
    embedder: Embedder
    sparse: Bm25Encoder
    store: CacheStore


async def _base(settings: Settings, embedder: Embedder, metrics: Metrics, stack: AsyncExitStack) -> _Base:
    database = open_database(settings)
    watch_pool(database, metrics)
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
    store = open_store(settings)
    stack.push_async_callback(store.close)
    return _Base(settings, database, index, embedder, Bm25Encoder(), store)


def _retriever(base: _Base, stack: AsyncExitStack) -> Retriever:
    reranker = open_reranker(base.settings)
    if reranker is not None:
        stack.push_async_callback(reranker.close)
    rerank = RerankStep(reranker, base.settings.rerank_candidates)
    return Retriever(base.database, base.index, base.embedder, base.sparse, rerank)


def _streams(base: _Base, stack: AsyncExitStack) -> Streams:
    settings = base.settings
    store = open_stream_store(settings)
    stack.push_async_callback(store.close)
    streams = Streams(store, settings.stream_grace_seconds, settings.stream_keep_seconds)
    stack.push_async_callback(streams.close)
    return streams


def _worker(
    base: _Base,
    queue: Queue,
    sandbox: Sandbox,
    describer: ImageDescriber | None,
    metrics: Metrics,
    tracer: Tracer | None,
) -> Worker:
    settings = base.settings
    stages = Stages(base.database, sandbox, base.index, base.embedder, base.sparse, describer)
    indexer = Indexer(base.database, base.index, stages, metrics=metrics)
    reindexer = Reindexer(base.database, base.index, base.embedder, base.sparse)
    return Worker(
        queue,
        {JobKind.INDEX: indexer.index, JobKind.REMOVE: indexer.remove},
        settings.job_poll_seconds,
        settings.worker_concurrency,
        [
            Chore("index.repair", reindexer.repair, settings.index_check_hours * 3600),
            Chore("retention", partial(_forget, base.database, settings), DAY_SECONDS),
        ],
        metrics=metrics,
        tracer=tracer,
    )


async def _forget(database: Database, settings: Settings) -> int:
    return await forget_old(
        database,
        datetime.now(UTC),
        jobs=timedelta(days=settings.job_keep_days),
        queries=timedelta(days=settings.query_log_keep_days),
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
        database = open_database(settings)
        stack.push_async_callback(database.close)
        if missing := await pending(database):
            raise ConfigurationError(
                f"The database lacks the migrations {', '.join(missing)}. Run `anchorage migrate`."
            )
        index = open_index(settings, embedder.identity, database)
        stack.push_async_callback(index.close)
        await index.prepare()
        yield Reindexer(database, index, embedder, Bm25Encoder())
