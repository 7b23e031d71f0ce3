"""An embedder whose every call is timed, and a span where a trace is recorded."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter

from app.providers.protocols import Embedder, EmbeddingIdentity, Matrix, Vector
from app.telemetry.metrics import Metrics
from app.telemetry.traces import Attribute, Kind, span


class MeasuredEmbedder:
    """Does what ``embedder`` does."""

    def __init__(self, embedder: Embedder, metrics: Metrics) -> None:
        self._embedder = embedder
        self._of_query = metrics.embedding_seconds.labels("query")
        self._of_documents = metrics.embedding_seconds.labels("documents")
        self._attributes: dict[str, Attribute | None] = {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.request.model": embedder.identity.name,
            "gen_ai.embeddings.dimension.count": embedder.identity.dimension,
        }

    @property
    def identity(self) -> EmbeddingIdentity:
        """Which vectors these are."""
        return self._embedder.identity

    @property
    def max_tokens(self) -> int:
        """Tokens of one text that the model reads."""
        return self._embedder.max_tokens

    async def embed_query(self, text: str) -> Vector:
        """Return shape (dimension,)."""
        start = perf_counter()
        with span(f"embeddings {self.identity.name}", Kind.CLIENT) as own:
            own.set(self._attributes)
            vector = await self._embedder.embed_query(text)
        self._of_query.observe(perf_counter() - start)
        return vector

    async def embed_documents(self, texts: Sequence[str]) -> Matrix:
        """Return shape (len(texts), dimension), in order."""
        start = perf_counter()
        with span(f"embeddings {self.identity.name}", Kind.CLIENT) as own:
            own.set({**self._attributes, "anchorage.texts": len(texts)})
            matrix = await self._embedder.embed_documents(texts)
        self._of_documents.observe(perf_counter() - start)
        return matrix

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Character ranges of the model's tokens."""
        return self._embedder.token_offsets(text)

    async def close(self) -> None:
        """Close the embedder."""
        await self._embedder.close()
