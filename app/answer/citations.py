"""Citations: markers ``[n]`` in an answer, bound to passages and checked against them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from app.answer.sentences import coverage, split_sentences, stems
from app.providers.protocols import SourcePassage

MARKER = re.compile(r"\[\s*(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*\]")
# Least share of a sentence's words that its source must hold. Lower would keep citations of the wrong passage,
# higher would drop those of a free rewording.
MIN_SUPPORT = 0.3


@dataclass(frozen=True, slots=True)
class Citation:
    """Passage ``number`` supports ``sentence``; ``snippet`` is the passage's sentence that does so best."""

    number: int
    sentence: str
    snippet: str


def cite(answer: str, passages: Sequence[SourcePassage]) -> tuple[str, list[Citation]]:
    """Keep the markers that hold, drop the others from the text.

    A marker holds when its passage exists and shares enough words with the sentence it stands in. Each passage is
    cited once, with the first sentence that it supports.
    """
    by_number = {passage.number: passage for passage in passages}
    found: dict[int, Citation] = {}
    pieces: list[str] = []
    position = 0
    for match in MARKER.finditer(answer):
        sentence = _sentence_before(answer, match.start())
        pieces.append(answer[position : match.start()])
        position = match.end()
        held: list[str] = []
        for number in dict.fromkeys(int(text) for text in re.split(r"\s*[,;]\s*", match.group(1))):
            passage = by_number.get(number)
            snippet = supporting_sentence(sentence, passage) if passage is not None else None
            if snippet is not None:
                held.append(str(number))
                found.setdefault(number, Citation(number, sentence, snippet))
        if held:
            pieces.append(f"[{', '.join(held)}]")
        elif pieces:
            pieces[-1] = pieces[-1].rstrip(" ")
    pieces.append(answer[position:])
    return "".join(pieces).strip(), list(found.values())


def supporting_sentence(sentence: str, passage: SourcePassage) -> str | None:
    """The passage's sentence nearest to ``sentence``, or None when the passage does not support it."""
    wanted = stems(sentence)
    if not wanted or coverage(wanted, stems(f"{passage.title} {passage.text}")) < MIN_SUPPORT:
        return None
    return max(split_sentences(passage.text), key=lambda candidate: coverage(wanted, stems(candidate)), default=None)


def _sentence_before(answer: str, end: int) -> str:
    text = MARKER.sub("", answer[:end]).strip()
    sentences = split_sentences(text)
    return sentences[-1] if sentences else ""
