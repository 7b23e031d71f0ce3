"""What goes into the pipeline, and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from app.answer.standalone import Exchange
from app.providers.protocols import Usage
from app.retrieval.options import RetrievalWishes
from app.retrieval.search import Passage


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, by whom, of which collection, and how to look; None follows the collection, then the service."""

    tenant_id: UUID
    request_id: str
    text: str
    collection: str | None
    retrieval: RetrievalWishes
    provider: str | None
    use_cache: bool
    model: str | None = None
    max_tokens: int = 512
    # A session that goes on, or one to be made; or what a client says was said before.
    session_id: UUID | None = None
    new_session: bool = False
    history: Sequence[Exchange] = ()


@dataclass(frozen=True, slots=True)
class CitedPassage:
    """A source of the answer: marker ``[number]`` in the text stands for it."""

    number: int
    document_id: str
    chunk_id: str
    title: str
    source: str
    page: int | None
    media_type: str
    snippet: str
    score: float


@dataclass(slots=True)
class Answer:
    """What comes out; ``grounded`` is false when the documents hold no answer.

    ``provider`` and ``model`` are who wrote it. ``usage`` is of this question alone: nothing, when it came from the
    cache. ``chunk_ids`` are the passages that it was made from.
    """

    text: str
    grounded: bool
    citations: list[CitedPassage]
    provider: str
    model: str
    usage: Usage = field(default_factory=Usage)
    chunk_ids: list[str] = field(default_factory=list)
    cache_status: str = "miss"
    cache_age_s: float | None = None
    timings_ms: dict[str, float] = field(default_factory=dict)
    # The question as it was looked up, and the session it was asked in.
    question: str = ""
    session_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Retrieved:
    """The passages that the answer may use, as soon as they are known."""

    passages: Sequence[Passage]


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of the answer's text as it is made; the final text, with checked citations, is in ``Answer``."""

    text: str


Event = Retrieved | Delta | Answer
