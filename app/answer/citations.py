"""Citations: markers ``[n]`` in an answer, bound to passages and checked against them."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from app.answer.sentences import coverage, sentence_spans, split_sentences, stems
from app.providers.protocols import SourcePassage

MARKER = re.compile(r"\[\s*(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\s*\]")
# Least share of a sentence's words that its source must hold. Lower would keep citations of the wrong passage,
# higher would drop those of a free rewording.
MIN_SUPPORT = 0.3
_CODE = re.compile(r"`[^`\n]+`")
_SPACE_BEFORE_END = re.compile(r"(?<=\S) (?=[.!?,;:](?:\s|$))")


@dataclass(frozen=True, slots=True)
class Citation:
    """Passage ``number``, at ``index`` (from 0) of those given, supports ``sentence``.

    ``snippet`` is the passage's sentence that does so best.
    """

    number: int
    index: int
    sentence: str
    snippet: str


def cite(answer: str, passages: Sequence[SourcePassage]) -> tuple[str, list[Citation]]:
    """Keep the markers that hold, drop the others from the text.

    A marker holds when its passage exists and shares enough words with the sentence it stands in or behind. Each
    passage is cited once, with the first sentence that it supports.
    """
    by_number = {passage.number: index for index, passage in enumerate(passages)}
    found: dict[int, Citation] = {}
    support: dict[tuple[str, int], str | None] = {}
    pieces: list[str] = []
    position = 0
    for match, sentence in _marked(answer):
        pieces.append(answer[position : match.start()])
        position = match.end()
        held: list[str] = []
        for number in marker_numbers(match):
            index = by_number.get(number)
            if index is None:
                continue
            if (sentence, index) not in support:
                support[sentence, index] = supporting_sentence(sentence, passages[index])
            snippet = support[sentence, index]
            if snippet is not None:
                held.append(str(number))
                found.setdefault(number, Citation(number, index, sentence, snippet))
        if held:
            pieces.append(f"[{', '.join(held)}]")
        else:
            pieces[-1] = pieces[-1].rstrip(" ")
    pieces.append(answer[position:])
    return "".join(pieces).strip(), list(found.values())


def marker_numbers(marker: re.Match[str]) -> list[int]:
    """The passage numbers in a marker, each once, in order."""
    return list(dict.fromkeys(int(text) for text in re.split(r"\s*[,;]\s*", marker.group(1))))


def supporting_sentence(sentence: str, passage: SourcePassage) -> str | None:
    """The passage's sentence nearest to ``sentence``, or None when the passage does not support it."""
    wanted = stems(sentence)
    if not wanted or coverage(wanted, stems(f"{passage.title} {passage.text}")) < MIN_SUPPORT:
        return None
    return max(split_sentences(passage.text), key=lambda candidate: coverage(wanted, stems(candidate)), default=None)


def without_markers(text: str) -> str:
    """The text as it would read without citations, white space squeezed."""
    pieces: list[str] = []
    position = 0
    for match in find_markers(text):
        pieces.append(text[position : match.start()])
        position = match.end()
    return _SPACE_BEFORE_END.sub("", " ".join(" ".join([*pieces, text[position:]]).split()))


def find_markers(text: str) -> list[re.Match[str]]:
    """The citation markers, in order; those in code are none: `argv[1]`."""
    code = [place for match in _CODE.finditer(text) for place in match.span()]
    return [match for match in MARKER.finditer(text) if bisect_right(code, match.start()) % 2 == 0]


def _marked(answer: str) -> list[tuple[re.Match[str], str]]:
    """Each marker with the sentence that it speaks of.

    That is the sentence it stands in; behind a full stop, the one that ended there; before everything, the first.
    """
    # Markers become white space of the same length, so that positions stay and "true. [1] Next" is two sentences.
    blank = MARKER.sub(lambda match: " " * len(match.group()), answer)
    lines = _line_spans(blank)
    spans = [(s + start, e + start) for start, end in lines for s, e in sentence_spans(blank[start:end])]
    starts = [start for start, _ in spans]
    sentences = [without_markers(answer[start:end]) for start, end in spans] or [""]
    return [(match, sentences[max(0, bisect_right(starts, match.start()) - 1)]) for match in find_markers(answer)]


def _line_spans(text: str) -> list[tuple[int, int]]:
    """Lines stand for themselves in an answer: items of a list carry their own markers."""
    spans: list[tuple[int, int]] = []
    start = 0
    for line in text.splitlines(keepends=True):
        spans.append((start, start + len(line)))
        start += len(line)
    return spans
