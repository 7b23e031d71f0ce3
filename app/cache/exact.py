"""The exact answer cache: the same question, asked again, while nothing that could change its answer has changed."""

from __future__ import annotations

import hashlib
import json
import time
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import structlog

from app.cache.store import CacheStore

log = structlog.get_logger(__name__)
ABSTENTION_TTL_S = 60
# Part of every key: raise it when the form of an entry changes.
ENTRY_FORM = "3"


@dataclass(frozen=True, slots=True)
class CacheKey:
    """Everything that an answer depends on, but for the documents: those are the epoch's.

    ``retrieval`` stands for the filters and every setting of the retrieval.
    """

    tenant_id: UUID
    collection_id: UUID
    question: str
    retrieval: str
    embedding: str
    prompt_version: str
    provider: str
    model: str

    def digest(self) -> str:
        """A name for the entry; questions that differ in case, spaces or closing punctuation share it."""
        parts = [
            ENTRY_FORM,
            *(str(self.tenant_id), str(self.collection_id), normalise(self.question), self.retrieval),
            *(self.embedding, self.prompt_version, self.provider, self.model),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def normalise(question: str) -> str:
    """One spelling for one question: NFKC, case folded, spaces squeezed, punctuation at the end dropped."""
    folded = unicodedata.normalize("NFKC", question).casefold()
    return " ".join(folded.split()).rstrip(" ?!.…")


@dataclass(frozen=True, slots=True)
class CachedAnswer:
    """What is served again; ``answer`` is the pipeline's own form as JSON values."""

    answer: dict[str, Any]
    age_s: float


class ExactCache:
    """Serves an entry only while the collection's epoch is the one that was read before its retrieval."""

    def __init__(self, store: CacheStore, ttl_s: int, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._ttl_s = ttl_s
        self._clock = clock

    @property
    def enabled(self) -> bool:
        return self._ttl_s > 0

    async def get(self, key: CacheKey, epoch: int) -> CachedAnswer | None:
        """The answer, if it was made from documents that are all still the same."""
        raw = await self.store.get(key.digest())
        if raw is None:
            return None
        try:
            entry = json.loads(raw)
            if entry["epoch"] != epoch:
                return None
            return CachedAnswer(entry["answer"], max(0.0, self._clock() - entry["stored_at"]))
        except (ValueError, KeyError, TypeError):
            log.warning("cache.entry_unreadable")
            return None

    async def put(
        self, key: CacheKey, epoch: int, answer: dict[str, Any], chunk_ids: Sequence[str], *, grounded: bool
    ) -> None:
        """Keep an answer made at ``epoch`` from a retrieval of ``chunk_ids``; that nothing was found, but briefly."""
        entry = {"epoch": epoch, "chunk_ids": list(chunk_ids), "stored_at": self._clock(), "answer": answer}
        ttl_s = self._ttl_s if grounded else min(self._ttl_s, ABSTENTION_TTL_S)
        await self.store.put(key.digest(), json.dumps(entry).encode(), ttl_s)
