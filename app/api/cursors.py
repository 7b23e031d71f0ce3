"""Cursors of lists that are ordered by a moment and an id, newest first."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from uuid import UUID

from app.errors import NotFoundError


def write_cursor(moment: datetime, identifier: UUID) -> str:
    """Where the page that ends with this row is continued."""
    return base64.urlsafe_b64encode(json.dumps([moment.isoformat(), str(identifier)]).encode()).decode()


def read_cursor(cursor: str) -> tuple[datetime, UUID]:
    """Raises NotFoundError when it is none of ours."""
    try:
        moment, identifier = json.loads(base64.urlsafe_b64decode(cursor))
        # Without a zone this is taken as local time: some page, but an answer.
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(identifier)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise NotFoundError("This cursor is none of ours: take next_cursor from the page before.") from None
