"""``POST /v1/chat/completions``: the last question of a conversation, answered from a collection.

The messages before it are its history. A system message sets nothing: answers are made by the service's own rules. What
the documents hold comes as annotations (``url_citation``) and, whole, as ``anchorage``.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

import structlog
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from sse_starlette import ServerSentEvent

from app.answer.citations import find_markers, marker_numbers
from app.answer.question import Answer, CitedPassage, Delta, Event, Question
from app.api.deps import QueryPrincipal, ServicesDep
from app.api.errors import note, of_error, of_unexpected, request_id_of
from app.api.middleware import CLIENT_LEFT
from app.api.openai.chat_messages import ChatRequest, ChatResponse, conversation_of
from app.api.openai.models import read_model
from app.api.openai_errors import error_body
from app.api.query import answer_response, last, unless_gone
from app.api.streaming import event_source
from app.auth.keys import Principal
from app.errors import AnchorageError, ErrorCode, ModelNotFoundError, NotFoundError

log = structlog.get_logger(__name__)
router = APIRouter()
_EVENTS: dict[str, Any] = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "description": "One event: a chunk as JSON, or `[DONE]`.",
            "required": ["data"],
            "properties": {"data": {"type": "string"}},
        },
        "example": 'data: {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "A"}}]}\n\n'
        "data: [DONE]\n\n",
    }
}


@router.post(
    "/chat/completions",
    response_model=ChatResponse,
    summary="Answer a conversation",
    responses={200: {"content": _EVENTS}},
)
async def complete(request: Request, body: ChatRequest, services: ServicesDep, principal: QueryPrincipal) -> Any:
    """As OpenAI's: ``model`` names a collection, or collection and provider (``manuals:openai``).

    With ``stream: true`` chunks come as they are written; the last one carries the annotations and ``anchorage``, with
    the final text, whose citations are checked. Parameters of sampling are taken and left alone; ``n`` is 1.
    """
    question = _question(body, request_id_of(request), principal)
    events = services.pipeline.ask(question)
    if not body.stream:
        answer = await _found(body.model, unless_gone(request, last(events)))
        if answer is None:
            return Response(status_code=CLIENT_LEFT)
        return JSONResponse(_completion(answer, question.request_id, body.model))
    # What fails before there is anything to stream is an error with its own status.
    first = await _found(body.model, anext(events))
    return event_source(_chunks(request, first, events, body))


async def _found(model: str, work: Any) -> Any:
    """What there is no collection for is no model."""
    try:
        return await work
    except NotFoundError:
        raise ModelNotFoundError(model) from None


def _question(body: ChatRequest, request_id: str, principal: Principal) -> Question:
    collection, provider = read_model(body.model)
    text, history = conversation_of(body.messages)
    own = body.anchorage
    return Question(
        tenant_id=principal.tenant_id,
        request_id=request_id,
        text=text,
        collection=collection,
        retrieval=own.wishes(),
        provider=provider,
        use_cache=own.use_cache,
        history=history,
    )


def _completion(answer: Answer, request_id: str, model: str) -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": answer.text,
        "refusal": None,
        "annotations": citations_in(answer.text, answer.citations),
    }
    return {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": _usage(answer),
        "anchorage": _own(answer, request_id),
    }


async def _chunks(
    request: Request, first: Event, rest: AsyncGenerator[Event, None], body: ChatRequest
) -> AsyncGenerator[ServerSentEvent, None]:
    request_id = request_id_of(request)
    frame = {
        "id": f"chatcmpl-{request_id}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": body.model,
    }

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> ServerSentEvent:
        return _event(frame | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]} | more)

    pieces: list[str] = []
    try:
        yield chunk({"role": "assistant", "content": ""})
        async with aclosing(_all(first, rest)) as events:
            async for event in events:
                if isinstance(event, Delta):
                    pieces.append(event.text)
                    yield chunk({"content": event.text})
                elif isinstance(event, Answer):
                    text = "".join(pieces)
                    if not event.grounded and text.strip() != event.text:
                        # What was written found no support, and can't be taken back.
                        yield chunk({"content": f"\n\n{event.text}"})
                    found = citations_in(text, event.citations)
                    own = _own(event, request_id) | {"answer": event.text}
                    yield chunk({"annotations": found}, "stop", anchorage=own)
                    if body.stream_options is not None and body.stream_options.include_usage:
                        yield _event(frame | {"choices": [], "usage": _usage(event)})
        yield ServerSentEvent("[DONE]")
    except AnchorageError as error:
        note(request.scope, error.code)
        log.warning("stream.not_finished", code=error.code, detail=error.detail, cause=type(error.__cause__).__name__)
        yield _event(error_body(json.loads(bytes(of_error(request_id, error).body))))
    except Exception:
        note(request.scope, ErrorCode.INTERNAL_ERROR)
        log.exception("stream.failed", code=ErrorCode.INTERNAL_ERROR)
        yield _event(error_body(json.loads(bytes(of_unexpected(request_id).body))))


async def _all(first: Event, rest: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    async with aclosing(rest):
        yield first
        async for event in rest:
            yield event


def citations_in(text: str, citations: Sequence[CitedPassage]) -> list[dict[str, Any]]:
    """One for each place in the text where a source is cited; ``url`` is its address, or its document's URN."""
    cited = {citation.number: citation for citation in citations}
    return [
        {
            "type": "url_citation",
            "url_citation": {
                "start_index": marker.start(),
                "end_index": marker.end(),
                "title": cited[number].title,
                "url": _url(cited[number]),
            },
        }
        for marker in find_markers(text)
        for number in marker_numbers(marker)
        if number in cited
    ]


def _url(citation: CitedPassage) -> str:
    if citation.source.startswith(("https://", "http://")):
        return citation.source
    return f"urn:uuid:{citation.document_id}"


def _usage(answer: Answer) -> dict[str, int]:
    usage = answer.usage
    total = usage.prompt_tokens + usage.completion_tokens
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": total,
    }


def _own(answer: Answer, request_id: str) -> dict[str, Any]:
    """What OpenAI's shape has no place for."""
    whole = answer_response(answer, request_id).model_dump(mode="json")
    return {name: value for name, value in whole.items() if name not in ("answer", "usage")}


def _event(data: dict[str, Any]) -> ServerSentEvent:
    return ServerSentEvent(json.dumps(data, ensure_ascii=False))
