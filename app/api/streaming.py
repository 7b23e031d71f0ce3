"""Server-sent events that outlive their connection: ids ``request_id:number``, taken up again by ``Last-Event-ID``."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any
from uuid import UUID

import structlog
from fastapi import Request, Response
from sse_starlette import EventSourceResponse, ServerSentEvent

from app.answer.streams import StreamEvent, Streams, Tell, Told
from app.api.errors import note, of_error, of_unexpected, request_id_of
from app.errors import AnchorageError, ErrorCode, InvalidRequestError

log = structlog.get_logger(__name__)
HEARTBEAT_SECONDS = 15
# Less than gunicorn's graceful_timeout.
DRAIN_SECONDS = 25
# What a browser's EventSource waits before it comes back; less than STREAM_GRACE_SECONDS.
RETRY_MS = 1000
EVENT_STREAM: dict[str, Any] = {
    "text/event-stream": {
        "schema": {
            "type": "object",
            "description": "One event.",
            "required": ["id", "event", "data"],
            "properties": {
                "id": {"type": "string", "description": "`request_id:number`"},
                "event": {"enum": ["meta", "retrieval", "delta", "citation", "usage", "done", "error"]},
                "data": {"type": "string", "description": "JSON."},
                "retry": {"type": "integer"},
            },
        },
        "example": 'id: 4f0c1c0e9b7d4e0f:3\nevent: delta\ndata: {"text": "A berth costs 34 euros a night [1]."}\n\n',
    }
}
_EVENT_ID = re.compile(r"([A-Za-z0-9._-]{1,64}):(\d{1,9})")


def event_source(events: AsyncGenerator[ServerSentEvent, None]) -> EventSourceResponse:
    """The response of a stream, which no proxy holds back."""
    return EventSourceResponse(
        events,
        ping=HEARTBEAT_SECONDS,
        headers={"X-Accel-Buffering": "no", "Cache-Control": "no-cache, no-transform"},
        # Without it a release would break off every stream.
        shutdown_grace_period=DRAIN_SECONDS,
    )


async def begin(
    request: Request, streams: Streams, tenant_id: UUID, told: AsyncGenerator[Told, None]
) -> EventSourceResponse:
    """Write an answer as a stream. What fails before there is anything to tell raises."""
    request_id = request_id_of(request)
    stream = streams.start(tenant_id, request_id, told, _failed(request, request_id))
    await stream.started()
    return event_source(_sent(request_id, stream.follow(0)))


async def resume(request: Request, streams: Streams, tenant_id: UUID, request_id: str, after: int) -> Response:
    """Go on with a stream; 204 when all of it was read. Raises NotFoundError."""
    events = await streams.resume(tenant_id, request_id, after, _failed(request, request_id))
    return Response(status_code=204) if events is None else event_source(_sent(request_id, events))


def read_event_id(text: str) -> tuple[str, int]:
    """The request and the number of an event. Raises InvalidRequestError."""
    match = _EVENT_ID.fullmatch(text)
    if match is None:
        raise InvalidRequestError("Last-Event-ID is none of ours: send the id of the last event that you got.")
    return match.group(1), int(match.group(2))


async def _sent(request_id: str, events: AsyncGenerator[StreamEvent, None]) -> AsyncGenerator[ServerSentEvent, None]:
    async with aclosing(events):
        async for event in events:
            retry = RETRY_MS if event.number == 1 else None
            yield ServerSentEvent(event.data, event=event.name, id=f"{request_id}:{event.number}", retry=retry)


def _failed(request: Request, request_id: str) -> Tell:
    def tell(error: Exception) -> Told:
        note(request.scope, error.code if isinstance(error, AnchorageError) else ErrorCode.INTERNAL_ERROR)
        if isinstance(error, AnchorageError):
            cause = type(error.__cause__).__name__
            log.warning("stream.not_finished", code=error.code, detail=error.detail, cause=cause)
            response = of_error(request_id, error)
        else:
            log.error("stream.failed", code=ErrorCode.INTERNAL_ERROR, exc_info=error)
            response = of_unexpected(request_id)
        return "error", json.loads(bytes(response.body))

    return tell
