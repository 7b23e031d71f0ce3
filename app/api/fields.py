"""Kinds of fields that several routes take."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from fastapi import Path, Query
from pydantic import StringConstraints

from app.errors import NotFoundError

# Postgres can't store a NUL in text.
NO_NUL = r"^[^\x00]*$"
Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100, pattern=NO_NUL)]
# A collection's own name stands in addresses, and before a colon in the names of models.
NewName = Annotated[str, StringConstraints(max_length=100, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
PathName = Annotated[str, Path(min_length=1, max_length=100, pattern=NO_NUL, examples=["manuals"])]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500, pattern=NO_NUL)]
Source = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2000, pattern=NO_NUL)]
Limit = Annotated[int, Query(ge=1, le=200, description="How many on a page.")]
Cursor = Annotated[str | None, Query(max_length=200, description="`next_cursor` of the page before.")]


def write_cursor(created_at: datetime, identifier: UUID) -> str:
    """Where the next page begins: behind this row."""
    text = json.dumps([created_at.isoformat(), str(identifier)])
    return base64.urlsafe_b64encode(text.encode()).decode()


def read_cursor(cursor: str) -> tuple[datetime, UUID]:
    """The row that a page ended with. Raises NotFoundError: the cursor is none of ours."""
    try:
        moment, identifier = json.loads(base64.urlsafe_b64decode(cursor))
        # Without a zone this is taken as local time: some page, but an answer.
        return datetime.fromisoformat(moment).astimezone(UTC), UUID(identifier)
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError):
        raise NotFoundError("This cursor is none of ours: take next_cursor from the page before.") from None
