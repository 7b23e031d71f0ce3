"""The token budget: as many of the passages as fit the model, beside the question and room for the answer."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace

from app.providers.protocols import AnswerRequest, SourcePassage

# The system's instruction and what chat templates put around the messages.
FIXED_TOKENS = 220
# The lines around a passage, with their marks.
FRAME_TOKENS = 48
# A shorter rest of a passage says nothing.
LEAST_TOKENS = 32
_PIECE = re.compile(r"[A-Za-z]+|[0-9]+|[^\W\d_]+|\s+|[\W_]|\d")
# From Hebrew and Arabic on, writing has a token a letter; from Hangul, Chinese and Japanese on, up to two.
_OTHER, _DENSE = "\u0590", "\u1100"


def estimate_tokens(text: str) -> int:
    """How many tokens a model will make of the text, rather too many than too few.

    Each model has another tokenizer, and those of remote ones are not here. English words have a token for four
    letters, other alphabets one for two, digits and signs one each. ``tests/unit/answer`` holds it against a real one.
    """
    return sum(_tokens(match.group()) for match in _PIECE.finditer(text))


def fit(request: AnswerRequest, context_tokens: int) -> AnswerRequest:
    """The request with as many passages, best first, as the context holds; the last one may be cut.

    The question is never cut: when it alone is too long, no passages are left, and the model's server refuses.
    """
    room = context_tokens - request.max_tokens - FIXED_TOKENS - estimate_tokens(request.question)
    kept: list[SourcePassage] = []
    for passage in request.passages:
        room -= FRAME_TOKENS + estimate_tokens(passage.title)
        size = estimate_tokens(passage.text)
        if size > room:
            if room >= LEAST_TOKENS:
                kept.append(replace(passage, text=cut(passage.text, room)))
            break
        kept.append(passage)
        room -= size
    return replace(request, passages=kept)


def size_of(request: AnswerRequest) -> int:
    """Tokens of the prompt and the answer, by the same estimate."""
    return sum(
        (request.max_tokens, FIXED_TOKENS, estimate_tokens(request.question), _sizes(request.passages)),
    )


def cut(text: str, tokens: int) -> str:
    """The beginning of the text that has at most so many tokens, ended at white space where there is some."""
    used = 0
    for match in _PIECE.finditer(text):
        used += _tokens(match.group())
        if used > tokens:
            head = text[: match.start()]
            return head[: max(head.rfind(" "), head.rfind("\n"))] if " " in head or "\n" in head else head
    return text


def _sizes(passages: Sequence[SourcePassage]) -> int:
    return sum(FRAME_TOKENS + estimate_tokens(p.title) + estimate_tokens(p.text) for p in passages)


def _tokens(piece: str) -> int:
    first = piece[0]
    if first.isspace():
        # A space belongs to the word behind it.
        return piece.count("\n") + math.ceil(max(0, len(piece) - 1) / 4)
    if first.isascii() and first.isalpha():
        return math.ceil(len(piece) / 4)
    if first.isdecimal() and first.isascii():
        return len(piece) + 1
    if any(char >= _DENSE for char in piece):
        return 2 * len(piece)
    if first >= _OTHER:
        return len(piece)
    return math.ceil(len(piece) / 2) if first.isalpha() else 1
