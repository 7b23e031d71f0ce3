"""``POST /query``: an answer with its sources, at once or as a stream of events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Any, Literal
from uuid import UUID

import structlog
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sse_starlette import EventSourceResponse, ServerSentEvent

from app.answer.pipeline import Answer, Delta, Event, Question, Retrieved
from app.api.deps import QueryPrincipal, ServicesDep
from app.api.errors import PROBLEM_RESPONSES, of_error, of_unexpected, request_id_of
from app.auth.keys import Principal
from app.errors import AnchorageError, ErrorCode
from app.services import Services
from app.settings import AnswerProvider, Strategy

log = structlog.get_logger()
HEARTBEAT_SECONDS = 15
MAX_QUERY_CHARS = 4000
router = APIRouter(tags=["questions"], responses=PROBLEM_RESPONSES)

QueryText = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=MAX_QUERY_CHARS)]
Name = Annotated[str, StringConstraints(min_length=1, max_length=100)]


class QueryRequest(BaseModel):
    """A question; what is left out follows the service's settings."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"query": "How do I set the number of connections?", "top_k": 5}]},
    )
    query: QueryText
    collection: Name | None = Field(None, description="Which documents to ask; the default collection if absent.")
    top_k: int = Field(5, ge=1, le=100, description="How many passages the answer may use.")
    strategy: Strategy | None = Field(None, description="How passages are found.")
    threshold: float | None = Field(None, ge=0, le=1, description="Least cosine of the best passage; else it abstains.")
    provider: AnswerProvider | None = Field(None, description="Who writes the answer.")
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
    """Tokens that the provider counted."""

    prompt_tokens: int
    completion_tokens: int


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
async def query(
    request: Request, body: QueryRequest, services: ServicesDep, principal: QueryPrincipal
) -> QueryResponse | EventSourceResponse:
    """Answer from the documents, with citations; abstain when they hold no answer.

    With ``stream: true`` the events are ``meta``, ``retrieval``, ``delta``…, ``citation``…, ``usage``, ``done``,
    or ``error`` with a problem. ``done`` carries the final answer, whose citations are checked.
    """
    question = _question(request, body, services, principal)
    if body.stream or "text/event-stream" in request.headers.get("accept", ""):
        headers = {"X-Accel-Buffering": "no", "Cache-Control": "no-cache, no-transform"}
        return EventSourceResponse(_events(services, question), ping=HEARTBEAT_SECONDS, headers=headers)
    async with aclosing(services.pipeline.ask(question)) as events:
        async for event in events:
            if isinstance(event, Answer):
                return _response(event, question.request_id)
    raise RuntimeError("the pipeline ended without an answer")


def _question(request: Request, body: QueryRequest, services: Services, principal: Principal) -> Question:
    settings = services.settings
    return Question(
        tenant_id=principal.tenant_id,
        request_id=request_id_of(request),
        text=body.query,
        collection=body.collection,
        strategy=body.strategy or settings.default_retrieval_strategy,
        top_k=min(body.top_k, settings.max_retrieval_results),
        threshold=settings.similarity_threshold if body.threshold is None else body.threshold,
        provider=body.provider,
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


async def _events(services: Services, question: Question) -> AsyncIterator[ServerSentEvent]:
    number = 0

    def event(name: str, data: Any) -> ServerSentEvent:
        nonlocal number
        number += 1
        return ServerSentEvent(json.dumps(data, ensure_ascii=False), event=name, id=str(number))

    yield event("meta", {"request_id": question.request_id})
    try:
        async with aclosing(services.pipeline.ask(question)) as events:
            async for happened in events:
                for name, data in _told(happened, question.request_id):
                    yield event(name, data)
    except AnchorageError as error:
        yield event("error", _problem(of_error(question.request_id, error)))
    except Exception:
        log.exception("stream.failed", code=ErrorCode.INTERNAL_ERROR)
        yield event("error", _problem(of_unexpected(question.request_id)))


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
