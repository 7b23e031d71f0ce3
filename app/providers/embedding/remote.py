"""What all embedding servers share: batches, limits, unit length, and failures in our own words."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from app.errors import ProviderError
from app.providers.embedding.tokens import MARGIN, token_offsets
from app.providers.protocols import EmbeddingIdentity, Matrix, Vector

# Requests at once: the server works while the next batch is on its way.
CONCURRENT = 2


@dataclass(frozen=True, slots=True)
class EmbeddingLimits:
    """``max_tokens`` of one text, by the model's own count; ``batch_tokens`` of all texts of a request."""

    max_tokens: int
    batch_size: int
    batch_tokens: int
    timeout_s: float
    retries: int


@dataclass(frozen=True, slots=True)
class Prefixes:
    """What a model wants to read before a question and before a passage, such as ``query:`` and ``passage:``."""

    query: str = ""
    document: str = ""


class RemoteEmbedder(ABC):
    """One model of one server. The model's own tokenizer isn't here: texts are measured by the bundled one, whose
    tokens are taken for ``MARGIN`` of the model's.
    """

    def __init__(
        self,
        provider: str,
        identity: EmbeddingIdentity,
        limits: EmbeddingLimits,
        prefixes: Prefixes,
        on_tokens: Callable[[int], None],
    ) -> None:
        self.identity = identity
        self.max_tokens = int(limits.max_tokens / MARGIN)
        self._provider = provider
        self._limits = limits
        self._prefixes = prefixes
        self._on_tokens = on_tokens

    async def embed_query(self, text: str) -> Vector:
        """Return the question's vector, shape (dimension,). Raises ProviderError."""
        matrix = await self._checked([self._cut(self._prefixes.query + text)], query=True)
        vector: Vector = matrix[0]
        return vector

    async def embed_documents(self, texts: Sequence[str]) -> Matrix:
        """Return shape (len(texts), dimension), in order. Raises ProviderError."""
        result = np.empty((len(texts), self.identity.dimension), dtype=np.float32)
        prepared = await asyncio.to_thread(lambda: [self._cut(self._prefixes.document + text) for text in texts])
        free = asyncio.Semaphore(CONCURRENT)

        async def one(start: int, batch: list[str]) -> None:
            async with free:
                result[start : start + len(batch)] = await self._checked(batch, query=False)

        tasks = [asyncio.create_task(one(start, batch)) for start, batch in self._batches(prepared)]
        try:
            # Not a task group: the first failure is to come out as it is.
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return result

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Character ranges of the bundled model's tokens, by which ``max_tokens`` is reckoned."""
        return token_offsets(text)

    @abstractmethod
    async def close(self) -> None:
        """Close the connections."""

    @abstractmethod
    async def _ask(self, texts: list[str], *, query: bool) -> tuple[list[list[float]], int]:
        """The server's vectors, in order, and the tokens that it billed. Raises ProviderError."""

    async def _checked(self, texts: list[str], *, query: bool) -> Matrix:
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                rows, tokens = await self._ask(texts, query=query)
        except TimeoutError as error:
            raise self._error(f"was not done within {self._limits.timeout_s:g} s (EMBEDDING_TIMEOUT)") from error
        self._on_tokens(tokens)
        shape = (len(texts), self.identity.dimension)
        if len(rows) != shape[0]:
            raise self._error(f"gave {len(rows)} vectors for {shape[0]} texts; set EMBEDDING_BATCH_SIZE to 1")
        if any(len(row) != shape[1] for row in rows):
            raise self._error(f"gave vectors of {len(rows[0])} dimensions, not {shape[1]}; check EMBEDDING_DIMENSION")
        matrix = np.asarray(rows, dtype=np.float32)
        norms = np.linalg.norm(matrix, axis=1, keepdims=True)
        if not np.isfinite(norms).all() or not (norms > 0).all():
            raise self._error("gave a vector without a length")
        unit: Matrix = (matrix / norms).astype(np.float32)
        return unit

    def _error(self, cause: str) -> ProviderError:
        return ProviderError(self._provider, f"The embedding provider {self._provider!r} {cause}.")

    def _cut(self, text: str) -> str:
        """What the model reads of it; a server would refuse more. An empty text is one space: servers refuse none."""
        if len(text) > self.max_tokens:
            offsets = token_offsets(text)
            if len(offsets) > self.max_tokens:
                text = text[: offsets[self.max_tokens - 1][1]]
        return text or " "

    def _batches(self, texts: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
        start, held = 0, 0
        for index, text in enumerate(texts):
            # A text has at most a token a byte, usually one for four characters; this is for the server's limit only.
            size = min(self._limits.max_tokens, len(text) // 2 + 1)
            if index > start and (index - start == self._limits.batch_size or held + size > self._limits.batch_tokens):
                yield start, list(texts[start:index])
                start, held = index, 0
            held += size
        if start < len(texts):
            yield start, list(texts[start:])
