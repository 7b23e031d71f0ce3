"""Which embedder the settings name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from app.errors import ConfigurationError
from app.providers.embedding.bundled import BundledEmbedder
from app.providers.prices import Prices
from app.providers.protocols import Embedder, EmbeddingIdentity, Usage
from app.settings import EmbeddingProvider, Settings
from app.telemetry.metrics import Metrics

DEFAULT_MODELS = {
    EmbeddingProvider.OPENAI: "text-embedding-3-small",
    EmbeddingProvider.GEMINI: "gemini-embedding-001",
    EmbeddingProvider.FASTEMBED: "BAAI/bge-small-en-v1.5",
}
DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
    "gemini-embedding-001": 3072,
}
MAX_TOKENS = dict.fromkeys(("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002"), 8191) | {
    "gemini-embedding-001": 2048
}
OTHER_MAX_TOKENS = 512
# OpenAI takes 300,000 tokens a request; smaller servers are kept busy by far less.
BATCH_TOKENS = 100_000
# What the Gemini API takes in one request.
GEMINI_BATCH = 100


def identity_of(settings: Settings) -> EmbeddingIdentity:
    """Which vectors the settings ask for; no model is loaded.

    A prefix of the documents changes their vectors, so it is part of the identity.

    Raises:
        ConfigurationError: the dimension isn't known.
    """
    provider = settings.embedding_provider
    if provider is EmbeddingProvider.BUNDLED:
        return BundledEmbedder.identity
    model = _model(settings)
    prefix = settings.embedding_document_prefix
    revision = f"{provider}-{hashlib.sha256(prefix.encode()).hexdigest()[:8]}" if prefix else str(provider)
    return EmbeddingIdentity(model, revision, _dimension(settings, model), normalised=True)


def open_embedder(settings: Settings, metrics: Metrics | None = None) -> Embedder:
    """Make the embedder; nothing is asked of a server yet. Raises ConfigurationError."""
    from app.providers.embedding.remote import EmbeddingLimits, Prefixes

    provider = settings.embedding_provider
    if provider is EmbeddingProvider.BUNDLED:
        return BundledEmbedder(settings.embedding_threads)
    model, identity = _model(settings), identity_of(settings)
    prefixes = Prefixes(settings.embedding_query_prefix, settings.embedding_document_prefix)
    if provider is EmbeddingProvider.FASTEMBED:
        from app.providers.embedding.fast import FastEmbedder

        path, threads = settings.embedding_model_path, settings.embedding_threads
        return FastEmbedder(model=model, identity=identity, path=path, threads=threads, prefixes=prefixes)
    limits = EmbeddingLimits(
        max_tokens=settings.embedding_max_tokens or MAX_TOKENS.get(model, OTHER_MAX_TOKENS),
        batch_size=min(settings.embedding_batch_size, GEMINI_BATCH if provider is EmbeddingProvider.GEMINI else 2048),
        batch_tokens=BATCH_TOKENS,
        timeout_s=settings.embedding_timeout,
        retries=settings.provider_retries,
    )
    counted = _counter(provider, model, settings, metrics)
    key = _key(settings, provider)
    if provider is EmbeddingProvider.GEMINI:
        from app.providers.embedding.gemini import GeminiEmbedder

        if key is None:
            raise ConfigurationError("EMBEDDING_PROVIDER is gemini: set EMBEDDING_API_KEY or GEMINI_API_KEY.")
        return GeminiEmbedder(
            model=model,
            identity=identity,
            api_key=key,
            base_url=settings.embedding_base_url or settings.gemini_base_url,
            limits=limits,
            prefixes=prefixes,
            on_tokens=counted,
        )
    from app.providers.embedding.openai import OpenAIEmbedder

    address = settings.embedding_base_url or settings.openai_base_url
    if key is None and address is None:
        raise ConfigurationError(
            "EMBEDDING_PROVIDER is openai: set EMBEDDING_API_KEY or OPENAI_API_KEY, or EMBEDDING_BASE_URL for a server "
            "of your own."
        )
    return OpenAIEmbedder(
        model=model,
        identity=identity,
        api_key=key,
        base_url=address,
        limits=limits,
        prefixes=prefixes,
        on_tokens=counted,
    )


def _model(settings: Settings) -> str:
    return settings.embedding_model or DEFAULT_MODELS[settings.embedding_provider]


def _dimension(settings: Settings, model: str) -> int:
    known = settings.embedding_dimension or DIMENSIONS.get(model)
    if known is None and settings.embedding_provider is EmbeddingProvider.FASTEMBED:
        from app.providers.embedding.fast import dimension_of

        return dimension_of(model)
    if known is None:
        raise ConfigurationError(f"EMBEDDING_DIMENSION is not set, and that of {model!r} is not known here.")
    return known


def _key(settings: Settings, provider: EmbeddingProvider) -> str | None:
    """The key for answers goes to the server that it belongs to, and to no other that may be named for vectors."""
    if settings.embedding_api_key is not None:
        return settings.embedding_api_key.get_secret_value()
    if settings.embedding_base_url is not None:
        return None
    usual = settings.gemini_api_key if provider is EmbeddingProvider.GEMINI else settings.openai_api_key
    return usual.get_secret_value() if usual is not None else None


def _counter(
    provider: EmbeddingProvider, model: str, settings: Settings, metrics: Metrics | None
) -> Callable[[int], None]:
    if metrics is None:
        return lambda _: None
    prices = Prices(settings.model_prices)
    tokens = metrics.tokens.labels(provider, model, "embedding")
    cost = metrics.cost_usd.labels(provider, model)

    def count(used: int) -> None:
        tokens.inc(used)
        cost.inc(prices.priced(provider, model, Usage(used)).cost_usd)

    return count
