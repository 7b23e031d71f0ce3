"""What is under way: names that every log line of it carries."""

from __future__ import annotations

import structlog

from app.telemetry.traces import traceparent

MAX_REQUEST_ID = 64


def origin() -> tuple[str | None, str | None]:
    """The request's id and the trace, for work that goes on elsewhere."""
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    return (str(request_id)[:MAX_REQUEST_ID] if request_id else None), traceparent()
