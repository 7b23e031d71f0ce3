"""The answerer without a model: quotes the sentences that answer best, word for word."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from app.answer.citations import MARKER, without_markers
from app.answer.sentences import coverage, inverse_document_frequency, split_sentences, stems
from app.providers.protocols import AnswerDelta, AnswerRequest, Completion, Instruction, SourcePassage, Usage

MAX_SENTENCES = 3
# A second sentence must be nearly as good as the first, or it only dilutes the answer.
NEARLY = 0.75
# Share of a sentence's words in which it repeats one already quoted.
REPEATS = 0.7
TITLE_WEIGHT = 0.2
# For the rank and not the score: scores of fused lists lie so close that they say nothing more.
RANK_BONUS = 0.3
CUE_BONUS = 0.15
LONG_SENTENCE_WORDS = 60
LENGTH_PENALTY = 0.2

_NUMBER_WORDS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty|hundred|thousand|"
    "million|billion|dozen|half|once|twice"
)
_MONTHS = "January|February|March|April|May|June|July|August|September|October|November|December"
# Kind of question, and what an answer to it looks like.
_CUES = tuple(
    (re.compile(asked, re.IGNORECASE), re.compile(answer))
    for asked, answer in (
        (
            r"\b(when|(what|which) (year|date|day|month|decade|century))\b",
            rf"\b\d{{4}}\b|\b\d{{1,2}}[:.]\d{{2}}\b|\bcentur|\b({_MONTHS})\b",
        ),
        (
            r"\bhow (many|much|long|old|far|big|large|often|fast|high|deep)\b|percent|\bwhat (number|size|amount)\b",
            rf"\d|\b({_NUMBER_WORDS})\b",
        ),
        (r"\bwho(se|m)?\b", r"(?<=\s)[A-Z][a-z]+"),
        (r"\bwhere\b|\b(what|which) (city|country|place|region)\b", r"\b(in|at|from|near|to|of) (the )?[A-Z/~]"),
        (r"\b(why|reason)\b", r"(?i)\b(because|since|due to|so that|in order|causes?|caused|reasons?|therefore)\b"),
        (r"\b(what (is|are|does)|define|mean)\b", r"\b(is|are|means?|refers?)\b"),
    )
)
_LIST_MARK = re.compile(r"^(?:[-*+\u2022\u2023]|\d{1,3}[.)])\s+")
_INDEXED = re.compile(r"(?<![\w.])[\w.]*\w(?:\[\s*\d{1,3}\s*\])+")


@dataclass(frozen=True, slots=True)
class Quotation:
    """A sentence of a passage, with its stems."""

    passage: SourcePassage
    text: str
    words: frozenset[str]


class ExtractiveAnswerer:
    """Scores each sentence by the question's words it holds, its passage's rank, and the kind of answer asked for."""

    name = "extractive"
    # Part of every cache key: raise it when other sentences would be chosen.
    model = "sentences-3"

    async def stream(self, request: AnswerRequest) -> AsyncIterator[AnswerDelta]:
        """Yield one quoted sentence at a time, each with its citation."""
        lead = ""
        for quotation in select(request.question, request.passages):
            yield AnswerDelta(f"{lead}{_quoted(quotation.text)} [{quotation.passage.number}]")
            lead = " "
        yield AnswerDelta("", Usage())

    async def complete(self, instruction: Instruction) -> Completion | None:
        """None: it has no model that could follow an instruction."""
        return None

    async def close(self) -> None:
        """Nothing is held."""


def select(question: str, passages: Sequence[SourcePassage]) -> list[Quotation]:
    """The sentences to quote, best first, without repeating one another; ``passages`` are in order of relevance."""
    candidates = [
        (rank, Quotation(passage, sentence, frozenset(words)))
        for rank, passage in enumerate(passages)
        for sentence in split_sentences(passage.text)
        if (words := stems(sentence)) and not _repeats(question, sentence)
    ]
    weights = inverse_document_frequency([list(quotation.words) for _, quotation in candidates])
    wanted = frozenset(stems(question))
    titles = [coverage(wanted, stems(passage.title), weights) for passage in passages]
    cues = [answer for asked, answer in _CUES if asked.search(question)]

    def score(rank: int, quotation: Quotation) -> float:
        covered = coverage(wanted, quotation.words, weights)
        cue = CUE_BONUS * covered if any(cue.search(quotation.text) for cue in cues) else 0.0
        length = quotation.text.count(" ") + 1
        too_long = min(1.0, max(0, length - LONG_SENTENCE_WORDS) / LONG_SENTENCE_WORDS)
        return covered + cue + TITLE_WEIGHT * titles[rank] + RANK_BONUS / (rank + 1) - LENGTH_PENALTY * too_long

    ranked = sorted(((score(rank, quotation), quotation) for rank, quotation in candidates), key=lambda pair: -pair[0])
    chosen: list[Quotation] = []
    for value, quotation in ranked:
        if len(chosen) == MAX_SENTENCES or value < NEARLY * ranked[0][0]:
            break
        if all(coverage(quotation.words, other.words) < REPEATS for other in chosen):
            chosen.append(quotation)
    return chosen


def _repeats(question: str, sentence: str) -> bool:
    """Whether it has the question in it, as pages of frequent questions and examples do: that is no answer."""
    asked = " ".join(question.casefold().split())
    return asked.endswith("?") and asked in " ".join(sentence.casefold().split())


def _quoted(sentence: str) -> str:
    """The sentence, with nothing in it that reads as a citation of ours.

    ``argv[1]`` is set as code; the numbers of the source's own references are left out, and so is a list's bullet.
    """
    sentence = _LIST_MARK.sub("", sentence)
    if MARKER.search(sentence) is None:
        return sentence
    if "`" not in sentence:
        sentence = _INDEXED.sub(lambda match: f"`{match.group()}`", sentence)
    return without_markers(sentence)
