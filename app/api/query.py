"""``POST /query``: an answer with its sources, at once or as a stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Header, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sse_starlette import EventSourceResponse

from app.answer.question import Answer, Delta, Event, Question, Retrieved
from app.answer.streams import Told
from app.api.deps import QueryPrincipal, ServicesDep
from app.api.errors import PROBLEM_RESPONSES, problem_responses, request_id_of
from app.api.middleware import CLIENT_LEFT
from app.api.retrieval import RetrievalFields
from app.api.streaming import EVENT_STREAM, begin, read_event_id, resume
from app.auth.keys import Principal
from app.errors import InvalidRequestError
from app.services import Services
from app.settings import AnswerProvider

MAX_QUERY_CHARS = 4000
router = APIRouter(tags=["questions"], responses=PROBLEM_RESPONSES)

# Postgres can't store a NUL in text.
_NO_NUL = r"^[^\x00]*$"
QueryText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARS, pattern=_NO_NUL)
]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=_NO_NUL)]
LastEventId = Annotated[str | None, Header(alias="Last-Event-ID", description="Of the last event that you got.")]


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
    session_id: UUID | None = Field(None, description="A session: the question may lean on what was said in it.")
    session: bool = Field(False, description="Make a session of this question; the answer carries its id.")
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
    media_type: str = Field(description="Of the document: an image is cited by its description.")
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

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "answer": "A berth costs 34 euros a night [1].",
                    "grounded": True,
                    "citations": [
                        {
                            "number": 1,
                            "document_id": "0a6f5f5e-6f0c-4c53-8f0a-3a1f7d1d9b01",
                            "chunk_id": "b3b0f6a2-4f43-5d6e-8a35-1f2e3d4c5b6a",
                            "title": "Harbour manual",
                            "source": "harbour.md",
                            "page": None,
                            "media_type": "text/markdown",
                            "snippet": "A berth costs 34 euros a night.",
                            "score": 0.033,
                        }
                    ],
                    "cache": {"status": "miss", "similarity": None, "age_s": None},
                    "usage": {"prompt_tokens": 412, "completion_tokens": 14, "cost_usd": 0.00007, "priced": True},
                    "provider": "openai",
                    "model": "gpt-4o-mini",
                    "timings_ms": {"embed": 6.1, "search": 2.0, "read": 1.1, "generate": 640.2, "total": 652.4},
                    "standalone_question": "How much does a berth cost a night?",
                    "session_id": None,
                    "request_id": "4f0c1c0e9b7d4e0f",
                }
            ]
        }
    )
    answer: str
    grounded: bool
    citations: list[Citation]
    cache: CacheInfo
    usage: UsageInfo
    provider: str
    model: str
    timings_ms: dict[str, float]
    standalone_question: str = Field(description="The question as it was looked up.")
    session_id: UUID | None = Field(description="The session that it was asked in, if any.")
    request_id: str


@router.post(
    "/query",
    response_model=QueryResponse,
    summary="Ask a question",
    responses=problem_responses(409) | {200: {"content": EVENT_STREAM}, 204: {"description": "All of it was read."}},
)
async def query(
    request: Request,
    body: QueryRequest,
    services: ServicesDep,
    principal: QueryPrincipal,
    last_event_id: LastEventId = None,
) -> Any:
    """Answer from the documents, with citations; abstain when they hold no answer.

    With ``stream: true`` the events are ``meta``, ``retrieval``, ``delta``…, ``citation``…, ``usage``, ``done``,
    or ``error`` with a problem. ``done`` carries the final answer, whose citations are checked. Sent again with
    ``Last-Event-ID``, the stream goes on behind that event. A client that leaves ends the generation: at once, or,
    streaming, after ``STREAM_GRACE_SECONDS``.
    """
    streaming = body.stream or "text/event-stream" in request.headers.get("accept", "")
    if streaming and last_event_id is not None:
        return await resume(request, services.streams, principal.tenant_id, *read_event_id(last_event_id))
    question = _question(request, body, services, principal)
    events = services.pipeline.ask(question)
    if streaming:
        told = _tell(events, question.request_id)
        return await begin(request, services.streams, principal.tenant_id, told)
    answer = await unless_gone(request, last(events))
    return Response(status_code=CLIENT_LEFT) if answer is None else answer_response(answer, question.request_id)


@router.get(
    "/query/{request_id}/events",
    summary="Go on with a stream",
    response_class=EventSourceResponse,
    responses={200: {"content": EVENT_STREAM}, 204: {"description": "All of the stream was read."}},
)
async def events(
    request: Request,
    request_id: Annotated[str, Path(pattern=r"^[A-Za-z0-9._-]{1,64}$", examples=["4f0c1c0e9b7d4e0f"])],
    services: ServicesDep,
    principal: QueryPrincipal,
    last_event_id: LastEventId = None,
) -> Response:
    """The events of a streamed answer behind ``Last-Event-ID``, or all: nothing is asked again."""
    after = 0
    if last_event_id is not None:
        named, after = read_event_id(last_event_id)
        if named != request_id:
            raise InvalidRequestError("Last-Event-ID is of another request than the address.")
    return await resume(request, services.streams, principal.tenant_id, request_id, after)


def _question(request: Request, body: QueryRequest, services: Services, principal: Principal) -> Question:
    return Question(
        tenant_id=principal.tenant_id,
        request_id=request_id_of(request),
        text=body.query,
        collection=body.collection,
        retrieval=body.wishes(),
        provider=body.provider,
        model=body.model,
        max_tokens=services.settings.answer_max_tokens,
        use_cache=body.use_cache,
        session_id=body.session_id,
        new_session=body.session,
    )


def answer_response(answer: Answer, request_id: str) -> QueryResponse:
    """The answer as it is sent."""
    return QueryResponse(
        answer=answer.text,
        grounded=answer.grounded,
        citations=[Citation.model_validate(asdict(citation)) for citation in answer.citations],
        cache=CacheInfo.model_validate({"status": answer.cache_status, "age_s": answer.cache_age_s}),
        usage=UsageInfo(**asdict(answer.usage)),
        provider=answer.provider,
        model=answer.model,
        timings_ms={step: round(value, 2) for step, value in answer.timings_ms.items()},
        standalone_question=answer.question,
        session_id=answer.session_id,
        request_id=request_id,
    )


async def last(events: AsyncGenerator[Event, None]) -> Answer:
    """The answer that the events end with."""
    async with aclosing(events):
        async for event in events:
            if isinstance(event, Answer):
                return event
    raise RuntimeError("the pipeline ended without an answer")


async def unless_gone(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer | None:
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


async def _tell(events: AsyncGenerator[Event, None], request_id: str) -> AsyncGenerator[Told, None]:
    begun = False
    async with aclosing(events):
        async for happened in events:
            if not begun:
                begun = True
                yield "meta", {"request_id": request_id}
            for told in _told(happened, request_id):
                yield told


def _told(happened: Event, request_id: str) -> list[Told]:
    if isinstance(happened, Delta):
        return [("delta", {"text": happened.text})]
    if isinstance(happened, Retrieved):
        passages = [{"chunk_id": str(p.chunk_id), "title": p.title, "score": p.score} for p in happened.passages]
        return [("retrieval", {"passages": passages})]
    final = answer_response(happened, request_id).model_dump(mode="json")
    citations = [("citation", citation) for citation in final["citations"]]
    return [*citations, ("usage", final["usage"]), ("done", final)]
