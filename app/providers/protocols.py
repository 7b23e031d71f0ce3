"""What the service needs of models; one module a provider gives it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]
Matrix = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbeddingIdentity:
    """Which vectors these are. Vectors of different identities must never meet in one index."""

    name: str
    revision: str
    dimension: int
    normalised: bool

    @property
    def fingerprint(self) -> str:
        """Eight hexadecimal digits, for names of indexes."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:8]

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}/{self.dimension}{'/l2' if self.normalised else ''}"


class Embedder(Protocol):
    """Text to vectors."""

    @property
    def identity(self) -> EmbeddingIdentity: ...

    @property
    def max_tokens(self) -> int:
        """Tokens of one text that the model reads; the rest would be cut off."""
        ...

    async def embed_query(self, text: str) -> Vector:
        """Return shape (dimension,)."""
        ...

    async def embed_documents(self, texts: Sequence[str]) -> Matrix:
        """Return shape (len(texts), dimension), in order."""
        ...

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Character ranges of the model's tokens, without special ones: the measure for chunking."""
        ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class SourcePassage:
    """A retrieved passage as the answerer sees it, numbered from 1 in the prompt and in citations."""

    number: int
    title: str
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """A standalone question and the only passages that may support its answer."""

    question: str
    passages: Sequence[SourcePassage]
    max_tokens: int = 512


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens billed; zero for answerers without a model.

    ``cost_usd`` follows from the price table; ``priced`` is false when that has no such model: the cost is then
    unknown, and counted as 0.
    """

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost_usd: float = 0.0
    priced: bool = True


@dataclass(frozen=True, slots=True)
class Author:
    """Who wrote it, where that can be another than was asked first."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    """A piece of the answer; citations stand in the text as ``[n]``. The last piece carries the usage."""

    text: str
    usage: Usage | None = None
    author: Author | None = None


@dataclass(frozen=True, slots=True)
class Instruction:
    """Something else than an answer that a model shall write, such as a follow-up question made standalone."""

    system: str
    user: str
    max_tokens: int = 128


@dataclass(frozen=True, slots=True)
class Completion:
    """What it wrote, whole."""

    text: str
    usage: Usage


class Answerer(Protocol):
    """Writes an answer from passages. Raises ``ProviderError`` when its server fails."""

    @property
    def name(self) -> str:
        """The provider, as in ``provider`` of a query."""
        ...

    @property
    def model(self) -> str: ...

    def stream(self, request: AnswerRequest) -> AsyncIterator[AnswerDelta]:
        """Yield the answer; closing the iterator stops the generation upstream."""
        ...

    async def complete(self, instruction: Instruction) -> Completion | None:
        """Do what the instruction says; None when this answerer has no model that follows instructions."""
        ...

    async def close(self) -> None: ...


class Reranker(Protocol):
    """Judges how well passages answer a question. Raises ``ProviderError`` when its server fails."""

    @property
    def model(self) -> str: ...

    async def scores(self, question: str, texts: Sequence[str]) -> list[float]:
        """One score a text, in order; higher is better, and only their order has a meaning."""
        ...

    async def close(self) -> None: ...


class ImageDescriber(Protocol):
    """Puts into words what an image shows, so that it can be found and cited."""

    @property
    def model(self) -> str: ...

    async def describe(self, image: bytes, media_type: str) -> Completion:
        """What is to be seen and read in it.

        Raises:
            UnsupportedMediaTypeError: no model takes images of that type. ProviderError: its server failed.
        """
        ...
