"""What is under way: names that every log line of it carries, in all of its tasks."""

from __future__ import annotations

from contextvars import ContextVar

from structlog.typing import EventDict, WrappedLogger

from app.telemetry.traces import traceparent

MAX_REQUEST_ID = 64
# One variable, and not one for each name: whoever logs would look at all of them.
_names: ContextVar[dict[str, str] | None] = ContextVar("names", default=None)


def begin(**names: str | None) -> None:
    """A request or a job begins; what was under way before in this task is over."""
    _names.set({name: value for name, value in names.items() if value})


def add(**names: str) -> None:
    """From here on every line of it says this too."""
    under_way = _names.get()
    if under_way is None:
        begin(**names)
    else:
        under_way |= names


def with_names(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A processor: the line says of what it is."""
    under_way = _names.get()
    return {**under_way, **event} if under_way else event


def origin() -> tuple[str | None, str | None]:
    """The request's id and the trace, for work that goes on elsewhere."""
    request_id = (_names.get() or {}).get("request_id")
    return (request_id[:MAX_REQUEST_ID] if request_id else None), traceparent()
