"""``POST /query``: an answer with its sources, at once or as a stream of events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Any, Literal
from uuid import UUID

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sse_starlette import EventSourceResponse, ServerSentEvent

from app.answer.pipeline import Answer, Delta, Event, Question, Retrieved
from app.api.deps import QueryPrincipal, ServicesDep
from app.api.errors import PROBLEM_RESPONSES, of_error, of_unexpected, request_id_of
from app.api.middleware import CLIENT_LEFT
from app.api.retrieval import RetrievalFields
from app.auth.keys import Principal
from app.errors import AnchorageError, ErrorCode
from app.settings import AnswerProvider

log = structlog.get_logger()
HEARTBEAT_SECONDS = 15
# Less than gunicorn's graceful_timeout.
DRAIN_SECONDS = 25
MAX_QUERY_CHARS = 4000
router = APIRouter(tags=["questions"], responses=PROBLEM_RESPONSES)

# Postgres can't store a NUL in text.
_NO_NUL = r"^[^\x00]*$"
QueryText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARS, pattern=_NO_NUL)
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_NO_NUL)]


class QueryRequest(RetrievalFields):
    """A question; what is left out follows the collection's settings, then the service's."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"query": "How do I set the number of connections?", "filters": {"lang": "en"}, "top_k": 5}]
        },
    )
    query: QueryText
    collection: Name | None = Field(None, description="Which documents to ask; the default collection if absent.")
    provider: AnswerProvider | None = Field(None, description="Who writes the answer.")
    model: Name | None = Field(None, description="Another model of that provider; the service says which it allows.")
    use_cache: bool = True
    stream: bool = Field(False, description="Server-sent events; so does `Accept: text/event-stream`.")


class Citation(BaseModel):
    """A source; ``[number]`` in the answer stands for it."""

    number: int
    document_id: UUID
    chunk_id: UUID
    title: str
    source: str
    page: int | None
    snippet: str = Field(description="The sentence of the source that supports the answer best.")
    score: float


class CacheInfo(BaseModel):
    """Where the answer came from."""

    status: Literal["exact", "miss", "bypass"]
    similarity: float | None = None
    age_s: float | None = None


class UsageInfo(BaseModel):
    """Tokens that the provider counted for this question, and their price; nothing when it came from the cache."""

    prompt_tokens: int
    completion_tokens: int
    cost_usd: float
    priced: bool = Field(description="False when the service knows no price for the model: the cost is then 0.")


class QueryResponse(BaseModel):
    """An answer from the documents, or (``grounded: false``) that they hold none."""

    answer: str
    grounded: bool
    citations: list[Citation]
    cache: CacheInfo
    usage: UsageInfo
    provider: str
    model: str
    timings_ms: dict[str, float]
    request_id: str


@router.post(
    "/query",
    response_model=QueryResponse,
    summary="Ask a question",
    responses={200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}},
)
async def query(request: Request, body: QueryRequest, services: ServicesDep, principal: QueryPrincipal) -> Any:
    """Answer from the documents, with citations; abstain when they hold no answer.

    With ``stream: true`` the events are ``meta``, ``retrieval``, ``delta``…, ``citation``…, ``usage``, ``done``,
    or ``error`` with a problem. ``done`` carries the final answer, whose citations are checked. A client that leaves
    ends the generation.
    """
    question = _question(request, body, principal)
    events = services.pipeline.ask(question)
    if body.stream or "text/event-stream" in request.headers.get("accept", ""):
        # What fails before there is anything to stream is an error with its own status.
        first = await anext(events)
        return EventSourceResponse(
            _events(first, events, question.request_id),
            ping=HEARTBEAT_SECONDS,
            headers={"X-Accel-Buffering": "no", "Cache-Control": "no-cache, no-transform"},
            # Without it a release would break off every stream.
            shutdown_grace_period=DRAIN_SECONDS,
        )
    answer = await _unless_gone(request, _last(events))
    return Response(status_code=CLIENT_LEFT) if answer is None else _response(answer, question.request_id)


def _question(request: Request, body: QueryRequest, principal: Principal) -> Question:
    return Question(
        tenant_id=principal.tenant_id,
        request_id=request_id_of(request),
        text=body.query,
        collection=body.collection,
        retrieval=body.wishes(),
        provider=body.provider,
        model=body.model,
        max_tokens=settings.answer_max_tokens,
        use_cache=body.use_cache,
    )


def _response(answer: Answer, request_id: str) -> QueryResponse:
    return QueryResponse(
        answer=answer.text,
        grounded=answer.grounded,
        citations=[Citation.model_validate(asdict(citation)) for citation in answer.citations],
        cache=CacheInfo.model_validate({"status": answer.cache_status, "age_s": answer.cache_age_s}),
        usage=UsageInfo(**asdict(answer.usage)),
        provider=answer.provider,
        model=answer.model,
        timings_ms={step: round(value, 2) for step, value in answer.timings_ms.items()},
        request_id=request_id,
    )


async def _last(events: AsyncGenerator[Event, None]) -> Answer:
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Answer):
                return event
    raise RuntimeError("the pipeline ended without an answer")


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer | None:
    """Do the work, and stop when the client leaves: then None."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    working, watching = asyncio.create_task(work), asyncio.create_task(gone())
    try:
        await asyncio.wait({working, watching}, return_when=asyncio.FIRST_COMPLETED)
        return await working if working.done() else None
    finally:
        for task in (working, watching):
            task.cancel()
        await asyncio.gather(working, watching, return_exceptions=True)


async def _events(
    first: Event, rest: AsyncGenerator[Event, None], request_id: str
) -> AsyncGenerator[ServerSentEvent, None]:
    number = 0

    def event(name: str, data: Any) -> ServerSentEvent:
        nonlocal number
        number += 1
        return ServerSentEvent(json.dumps(data, ensure_ascii=False), event=name, id=str(number))

    yield event("meta", {"request_id": request_id})
    try:
        async with aclosing(rest):
            for name, data in _told(first, request_id):
                yield event(name, data)
            async for happened in rest:
                for name, data in _told(happened, request_id):
                    yield event(name, data)
    except AnchorageError as error:
        log.warning("stream.not_finished", code=error.code, detail=error.detail, cause=type(error.__cause__).__name__)
        yield event("error", _problem(of_error(request_id, error)))
    except Exception:
        log.exception("stream.failed", code=ErrorCode.INTERNAL_ERROR)
        yield event("error", _problem(of_unexpected(request_id)))


def _told(happened: Event, request_id: str) -> list[tuple[str, Any]]:
    if isinstance(happened, Delta):
        return [("delta", {"text": happened.text})]
    if isinstance(happened, Retrieved):
        passages = [{"chunk_id": str(p.chunk_id), "title": p.title, "score": p.score} for p in happened.passages]
        return [("retrieval", {"passages": passages})]
    final = _response(happened, request_id).model_dump(mode="json")
    citations = [("citation", citation) for citation in final["citations"]]
    return [*citations, ("usage", final["usage"]), ("done", final)]


def _problem(response: JSONResponse) -> Any:
    return json.loads(bytes(response.body))
