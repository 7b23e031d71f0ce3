"""Blocks to chunks: measured in the embedding model's tokens, cut along the document's structure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from uuid import UUID, uuid5

from app.db.collection_settings import CHUNK_OVERLAP_TOKENS, CHUNK_TOKENS
from app.ingest.parse import Block

TokenOffsets = Callable[[str], list[tuple[int, int]]]

# About 15 ms of tokenising.
PIECE_CHARS = 20_000
# Room, within what the model reads, for the title and headings that are embedded with each chunk.
CONTEXT_TOKENS = 60
_BOUNDARIES = (re.compile(r"\n\n"), re.compile(r"(?<=[.!?])[\s\"')\]]+"), re.compile(r"\n"), re.compile(r"\s+"))


@dataclass(frozen=True, slots=True)
class ChunkText:
    """A passage: ``text`` is a verbatim part of its section."""

    position: int
    text: str
    heading_path: tuple[str, ...]
    page: int | None
    token_count: int


def chunk_id(version_id: UUID, position: int) -> UUID:
    """The same version always gives the same ids, so indexing it twice writes once."""
    return uuid5(version_id, str(position))


def chunk(
    blocks: Sequence[Block],
    token_offsets: TokenOffsets,
    max_tokens: int = CHUNK_TOKENS,
    overlap_tokens: int = CHUNK_OVERLAP_TOKENS,
) -> list[ChunkText]:
    """Cut each section (blocks under the same headings, on the same page) into chunks of at most ``max_tokens``.

    Within a section, a chunk begins with up to ``overlap_tokens`` of the one before it.
    """
    chunks: list[ChunkText] = []
    for (path, page), members in groupby(blocks, key=lambda block: (block.heading_path, block.page)):
        section = "\n\n".join(member.text for member in members)
        for text, tokens in _cut(section, _offsets(section, token_offsets), max_tokens, overlap_tokens):
            chunks.append(ChunkText(len(chunks), text, path, page, tokens))
    return chunks


def embedding_text(title: str, heading_path: Sequence[str], text: str, token_offsets: TokenOffsets) -> str:
    """What is embedded and indexed for a chunk: where it stands, then what it says."""
    context = " > ".join(dict.fromkeys([title, *heading_path]))
    offsets = token_offsets(context)
    if len(offsets) > CONTEXT_TOKENS:
        context = context[: offsets[CONTEXT_TOKENS - 1][1]]
    return f"{context}\n{text}" if context else text


def _offsets(section: str, token_offsets: TokenOffsets) -> list[tuple[int, int]]:
    """The section's tokens, piece by piece: the tokenizer holds the interpreter for as long as one call takes."""
    offsets: list[tuple[int, int]] = []
    start = 0
    while start < len(section):
        end = min(start + PIECE_CHARS, len(section))
        if end < len(section):
            # No token goes over white space, so that cutting there changes none.
            space = max(section.rfind(" ", start, end), section.rfind("\n", start, end))
            end = space if space > start else end
        offsets += [(start + a, start + b) for a, b in token_offsets(section[start:end])]
        start = end
    return offsets


def _cut(
    section: str, offsets: Sequence[tuple[int, int]], max_tokens: int, overlap_tokens: int
) -> Iterator[tuple[str, int]]:
    start = 0
    while start < len(offsets):
        if len(offsets) - start <= max_tokens:
            yield section[offsets[start][0] :].strip(), len(offsets) - start
            return
        end = _best_end(section, offsets, start, start + max_tokens)
        yield section[offsets[start][0] : offsets[end - 1][1]].strip(), end - start
        start = _overlap_start(section, offsets, max(start + 1, end - overlap_tokens), end)


def _best_end(section: str, offsets: Sequence[tuple[int, int]], start: int, limit: int) -> int:
    """The token index at the strongest boundary in the second half of the window; the limit when there is none."""
    low, high = offsets[start + (limit - start) // 2][0], offsets[limit][0]
    for boundary in _BOUNDARIES:
        ends = [match.start() for match in boundary.finditer(section, low, high + 1)]
        if ends:
            index = limit
            while index > start + 1 and offsets[index - 1][1] > ends[-1]:
                index -= 1
            return index
    return limit


def _overlap_start(section: str, offsets: Sequence[tuple[int, int]], earliest: int, end: int) -> int:
    """Begin the next chunk at a sentence within the last tokens of this one, so that none is read without its lead."""
    for index in range(earliest, end):
        if re.search(r"[.!?\n]\s*$", section[offsets[index - 1][0] : offsets[index][0]]):
            return index
    return end
