"""What every parser gives: text with the headings above it and, where there are pages, its page."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list item, row, table or piece of code. ``page`` counts from 1; a slide is one."""

    text: str
    heading_path: tuple[str, ...] = ()
    page: int | None = None


@dataclass(frozen=True, slots=True)
class Parsed:
    """A document's own title, if it has one, and its blocks in reading order."""

    title: str | None
    blocks: list[Block]


def paragraphs(text: str) -> list[str]:
    """The parts between blank lines."""
    return [part.strip() for part in re.split(r"\n[ \t]*\n", text) if part.strip()]


def squeeze(text: str) -> str:
    """Each run of white space as one space."""
    return " ".join(text.split())


def storable(text: str) -> str:
    """Without NUL and halves of surrogate pairs, which no database takes as text."""
    return text.replace("\x00", "").encode("utf-8", "ignore").decode()


def under(path: tuple[str, ...], level: int, heading: str) -> tuple[str, ...]:
    """The path of headings once one of ``level`` (from 1) follows; levels that were left out stay out."""
    kept = [*path[: level - 1]]
    return (*kept, heading)
