"""What the settings name: database, keyring, vector index, cache, reranker, the defaults of a retrieval."""

from __future__ import annotations

import os
import secrets

from app.auth.keys import Keyring
from app.cache.store import CacheStore, MemoryStore
from app.db.session import Database
from app.errors import ConfigurationError
from app.providers.protocols import EmbeddingIdentity, Reranker
from app.retrieval.options import RetrievalOptions, Weights
from app.settings import Settings, VectorStore
from app.vectors.edge import EdgeIndex
from app.vectors.protocols import VectorIndex

STREAM_EVENTS = 50_000
# Events are kept beside the stream, where a slow store delays nobody; one that is skipped can't be read again.
STREAM_TIMEOUT_SECONDS = 5.0


def open_database(settings: Settings, pool_size: int | None = None) -> Database:
    """The database that DATABASE_URL names, or embedded mode's own; nothing is connected yet."""
    other = settings.database_password_other
    return Database(
        settings.sqlalchemy_url,
        pool_size or settings.database_pool_size,
        other_password=other.get_secret_value() if other is not None else None,
    )


def open_keyring(settings: Settings, database: Database) -> Keyring:
    """The API keys, under SECRET_KEY.

    Raises:
        ConfigurationError: server mode has no SECRET_KEY.
    """
    other = settings.secret_key_other
    return Keyring(database, secret_key(settings), other.get_secret_value() if other is not None else None)


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
        address,
        settings.qdrant_collection_name,
        identity,
        api_key=api_key,
        timeout_s=settings.qdrant_timeout,
        ca_file=settings.internal_ca_file,
        patience_s=settings.qdrant_restart_patience,
    )


def open_store(settings: Settings) -> CacheStore:
    """The answers' store: Redis where it is named, else this process's memory."""
    if settings.redis_dsn is None:
        return MemoryStore(settings.max_cache_size)
    return _redis(settings, settings.redis_dsn, settings.redis_socket_timeout)


def open_stream_store(settings: Settings) -> CacheStore:
    """The streams' store. In memory it has room of its own: streams would push answers out of the cache."""
    if settings.redis_dsn is None:
        return MemoryStore(STREAM_EVENTS)
    return _redis(settings, settings.redis_dsn, STREAM_TIMEOUT_SECONDS)


def _redis(settings: Settings, dsn: str, timeout_s: float) -> CacheStore:
    from app.cache.redis import RedisStore

    password = settings.redis_password.get_secret_value() if settings.redis_password else None
    return RedisStore(dsn, password, settings.redis_pool_size, timeout_s, ca_file=settings.internal_ca_file)
