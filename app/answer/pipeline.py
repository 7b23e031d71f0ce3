"""A question's way to its answer. ``ask`` reads as the steps of the design."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import asdict, replace
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, cast
from uuid import UUID

import structlog
from sqlalchemy import select

from app.answer.abstention import abstention
from app.answer.citations import Citation, cite
from app.answer.conversation import Conversations, Said
from app.answer.links import LinkFilter, addresses, without_foreign_links
from app.answer.prompt import PROMPT_VERSION
from app.answer.query_hash import QueryHasher
from app.answer.query_log import QueryLog
from app.answer.question import Answer, CitedPassage, Delta, Event, Question, Retrieved
from app.answer.standalone import Exchange, Standalone, standalone
from app.cache.exact import CacheKey, ExactCache
from app.db.bootstrap import find_collection
from app.db.collection_settings import CollectionSettings
from app.db.models import Collection
from app.db.session import Database
from app.errors import ConflictError, DependencyUnavailableError, NotFoundError
from app.providers.protocols import AnswerDelta, Answerer, AnswerRequest, Embedder, SourcePassage, Usage
from app.providers.registry import Answerers
from app.retrieval.options import RetrievalOptions
from app.retrieval.search import Passage, Retriever
from app.telemetry import context
from app.telemetry.metrics import Metrics
from app.telemetry.redaction import keep_private
from app.telemetry.traces import Step, describe
from app.vectors.protocols import Scope

log = structlog.get_logger(__name__)
FEW_PASSAGES = 5
# Steps in which a model writes.
BY_MODELS = ("rewrite", "generate")


class Pipeline:
    """Answers questions; holds no state between them but the cache."""

    def __init__(
        self,
        *,
        database: Database,
        retriever: Retriever,
        embedder: Embedder,
        answerers: Answerers,
        cache: ExactCache,
        query_log: QueryLog | None,
        metrics: Metrics,
        conversations: Conversations,
        defaults: RetrievalOptions,
        max_results: int,
        hasher: QueryHasher,
    ) -> None:
        self._database = database
        self._retriever = retriever
        self._embedder = embedder
        self._answerers = answerers
        self._cache = cache
        self._query_log = query_log
        self._metrics = metrics
        self._conversations = conversations
        self._defaults = defaults
        self._max_results = max_results
        self._hasher = hasher

    async def ask(self, asked: Question) -> AsyncGenerator[Event, None]:
        """Yield what happens, ending with the ``Answer``; closing the iterator stops the generation.

        Raises:
            NotFoundError: no such collection or session. ConflictError: the session is of another collection.
            DependencyUnavailableError: the database, the index or the
            provider does not answer.
        """
        start = perf_counter()
        timings: dict[str, float] = {}
        self._name(asked)
        answerer = self._answerers.get(asked.provider, asked.model)
        # The epoch is read before the retrieval: whatever changes from here on makes the answer uncacheable.
        with Step("open", timings):
            collection, history = await self._opened(asked)
        rewritten = await self._rewritten(asked, history, answerer, timings)
        question = replace(asked, text=rewritten.text)
        options = question.retrieval.options(
            self._defaults, CollectionSettings.read(collection.settings), self._max_results
        )
        key = self._cache_key(question, options, collection, answerer.name, answerer.model)
        use_cache = question.use_cache and self._cache.enabled
        cached = None
        if use_cache:
            with Step("cache", timings):
                cached = await self._cached(key, collection)
        if cached is not None:
            answer = cached
            yield Delta(answer.text)
        else:
            scope = Scope(question.tenant_id, collection.id)
            retrieval = await self._retriever.search(scope, question.text, options)
            timings |= retrieval.timings_ms
            yield Retrieved(retrieval.passages)
            answer = Answer("", False, [], key.provider, key.model)
            answer.chunk_ids = [str(passage.chunk_id) for passage in retrieval.passages]
            if retrieval.passages:
                async for delta in self._generate(question, answerer, retrieval.passages, answer, timings):
                    yield delta
            if not answer.grounded:
                with Step("abstain", timings):
                    answer.text = await abstention(question.text)
                if not retrieval.passages:
                    yield Delta(answer.text)
            answer.cache_status = "miss" if use_cache else "bypass"
            if use_cache and retrieval.complete:
                # Under the name of who wrote it: an answer of the second choice is not kept as one of the first.
                key = self._cache_key(question, options, collection, answer.provider, answer.model)
                with Step("store", timings):
                    await self._store(key, collection, answer, retrieval.passages)
        answer.question = question.text
        answer.usage = _sum(answer.usage, rewritten.usage)
        if asked.session_id is not None or asked.new_session:
            with Step("say", timings):
                answer.session_id = await self._say(asked, collection, answer)
        timings["total"] = (perf_counter() - start) * 1000
        answer.timings_ms = timings
        self._record(question, collection.id, answer)
        yield answer

    def _name(self, question: Question) -> None:
        """Every log line from here on says which question it is of."""
        name = self._hasher.name(question.tenant_id, question.text)
        context.add(query_hash=name)
        describe({"anchorage.query_hash": name})
        if self._query_log is None:
            keep_private(question.text)

    async def _opened(self, asked: Question) -> tuple[Collection, Sequence[Exchange]]:
        """The collection to ask, and what was said before: by the session, where there is one."""
        if asked.session_id is None:
            async with self._database.session(reading=True) as session:
                return await find_collection(session, asked.tenant_id, asked.collection), asked.history
        conversation = await self._conversations.open(asked.tenant_id, asked.session_id)
        async with self._database.session(reading=True) as session:
            collection = await session.get(Collection, conversation.collection_id)
        if collection is None:
            raise NotFoundError(f"There is no session {asked.session_id}: its collection was deleted.")
        if asked.collection not in (None, collection.name):
            raise ConflictError(f"This session asks the collection {collection.name!r}. Start another one.")
        return collection, conversation.history

    async def _rewritten(
        self, asked: Question, history: Sequence[Exchange], answerer: Answerer, timings: dict[str, float]
    ) -> Standalone:
        if not history:
            return Standalone(asked.text, Usage())
        with Step("rewrite", timings):
            rewritten = await standalone(asked.text, history, answerer)
        self._name(replace(asked, text=rewritten.text))
        return rewritten

    async def _say(self, asked: Question, collection: Collection, answer: Answer) -> UUID | None:
        """Keep the turn before the answer is done, so that a follow-up finds it; None where the session is gone."""
        citations = [asdict(citation) for citation in answer.citations]
        said = Said(asked.request_id, asked.text, answer.question, answer.text, answer.grounded, citations)
        try:
            return await self._conversations.say(asked.tenant_id, collection.id, asked.session_id, said)
        except NotFoundError:
            log.info("session.gone", session_id=str(asked.session_id))
            return None

    async def _generate(
        self,
        question: Question,
        answerer: Answerer,
        passages: Sequence[Passage],
        answer: Answer,
        timings: dict[str, float],
    ) -> AsyncGenerator[Delta, None]:
        """Stream the text, then put it with its checked citations into ``answer``."""
        sources = [SourcePassage(n, p.title, p.text, p.score) for n, p in enumerate(passages, start=1)]
        allowed = LinkFilter(addresses(source.text for source in sources))
        pieces: list[str] = []
        deltas = answerer.stream(AnswerRequest(question.text, sources, question.max_tokens))
        with Step("generate", timings):
            async with aclosing(cast(AsyncGenerator[AnswerDelta, None], deltas)):
                async for delta in deltas:
                    if delta.author is not None:
                        answer.provider, answer.model = delta.author.provider, delta.author.model
                    if delta.usage is not None:
                        answer.usage = delta.usage
                    if text := allowed.feed(delta.text):
                        pieces.append(text)
                        yield Delta(text)
            if text := allowed.finish():
                pieces.append(text)
                yield Delta(text)
        with Step("cite", timings):
            text, citations = cite("".join(pieces), sources)
            text = without_foreign_links(text, addresses(sources[citation.index].text for citation in citations))
            answer.citations = [_cited(citation, passages[citation.index]) for citation in citations]
        # Text that cites nothing is not an answer from the documents.
        answer.grounded = bool(answer.citations)
        answer.text = text

    def _cache_key(
        self, question: Question, options: RetrievalOptions, collection: Collection, provider: str, model: str
    ) -> CacheKey:
        return CacheKey(
            tenant_id=question.tenant_id,
            collection_id=collection.id,
            question=question.text,
            retrieval=self._retriever.key(options),
            embedding=str(self._embedder.identity),
            prompt_version=PROMPT_VERSION,
            provider=provider,
            model=model,
        )

    async def _cached(self, key: CacheKey, collection: Collection) -> Answer | None:
        found = await self._cache.get(key, collection.epoch)
        if found is None:
            return None
        try:
            value: dict[str, Any] = dict(found.answer)
            citations = [CitedPassage(**citation) for citation in value.pop("citations")]
            del value["usage"]
            return Answer(**value, citations=citations, cache_status="exact", cache_age_s=found.age_s)
        except (KeyError, TypeError):
            # During a deploy two releases share the cache; one that wrote other fields is a miss.
            log.info("cache.entry_unreadable")
            return None

    async def _store(self, key: CacheKey, collection: Collection, answer: Answer, retrieved: Sequence[Passage]) -> None:
        """Keep the answer, unless a document changed while it was made."""
        try:
            async with self._database.session(reading=True) as session:
                epoch = await session.scalar(select(Collection.epoch).where(Collection.id == collection.id))
        except DependencyUnavailableError:
            log.warning("cache.not_stored")
            return
        if epoch == collection.epoch:
            value = asdict(answer)
            for of_this_time in ("timings_ms", "cache_status", "cache_age_s", "question", "session_id"):
                del value[of_this_time]
            chunk_ids = [str(passage.chunk_id) for passage in retrieved]
            await self._cache.put(key, collection.epoch, value, chunk_ids, grounded=answer.grounded)

    def _record(self, question: Question, collection_id: UUID, answer: Answer) -> None:
        grounded = str(answer.grounded).lower()
        self._metrics.queries.labels(answer.provider, answer.cache_status, grounded).inc()
        if not answer.grounded:
            self._metrics.abstentions.inc()
        for step, milliseconds in answer.timings_ms.items():
            self._metrics.step_seconds.labels(step).observe(milliseconds / 1000)
        # What is promised: how fast a model writes is its provider's.
        own = answer.timings_ms["total"] - sum(answer.timings_ms.get(step, 0.0) for step in BY_MODELS)
        self._metrics.step_seconds.labels("without_generation").observe(own / 1000)
        rounded = {step: round(milliseconds, 2) for step, milliseconds in answer.timings_ms.items()}
        facts: dict[str, str | bool] = {
            "cache": answer.cache_status,
            "grounded": answer.grounded,
            "provider": answer.provider,
            "model": answer.model,
        }
        if self._query_log is not None:
            facts["query"] = question.text
        log.info("query.answered", **facts, steps_ms=rounded)
        describe({f"anchorage.{name}": value for name, value in facts.items()})
        if self._query_log is not None:
            self._query_log.add(
                {
                    "request_id": question.request_id,
                    "tenant_id": question.tenant_id,
                    "collection_id": collection_id,
                    "session_id": answer.session_id,
                    "query": question.text,
                    "answer": answer.text,
                    "chunk_ids": answer.chunk_ids,
                    "grounded": answer.grounded,
                    "provider": answer.provider,
                    "model": answer.model,
                    "prompt_tokens": answer.usage.prompt_tokens,
                    "completion_tokens": answer.usage.completion_tokens,
                    "cost_usd": answer.usage.cost_usd,
                    "cache_status": answer.cache_status,
                    "timings_ms": rounded,
                    "created_at": datetime.now(UTC),
                }
            )


def _cited(citation: Citation, passage: Passage) -> CitedPassage:
    return CitedPassage(
        number=citation.number,
        document_id=str(passage.document_id),
        chunk_id=str(passage.chunk_id),
        title=passage.title,
        source=passage.source,
        page=passage.page,
        media_type=passage.media_type,
        snippet=citation.snippet,
        score=passage.score,
    )


def _sum(one: Usage, other: Usage) -> Usage:
    return replace(
        one,
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        cost_usd=one.cost_usd + other.cost_usd,
        priced=one.priced and other.priced,
    )
