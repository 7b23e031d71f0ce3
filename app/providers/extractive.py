"""The answerer without a model: quotes the sentences that answer best, word for word."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from app.answer.sentences import coverage, inverse_document_frequency, split_sentences, stems
from app.providers.protocols import AnswerDelta, AnswerRequest, SourcePassage, Usage

MAX_SENTENCES = 3
# A second sentence must be nearly as good as the first, or it only dilutes the answer.
NEARLY = 0.75
RANK_BONUS = 0.3
CUE_BONUS = 0.15
LONG_SENTENCE_WORDS = 60
# Kind of question, and what an answer to it looks like.
_CUES = tuple(
    (re.compile(asked, re.IGNORECASE), re.compile(answer))
    for asked, answer in (
        (r"\b(when|what year|what date)\b", r"\b\d{4}\b|\b\d{1,2}[:.]\d{2}\b"),
        (r"\b(how (many|much|long|old|far|big|large|often)|what percent)", r"\d"),
        (r"\bwho\b", r"(?<=\s)[A-Z][a-z]+"),
        (r"\b(why|reason)\b", r"(?i)\b(because|since|due to|so that|in order)\b"),
        (r"\b(what is|what are|define)\b", r"\b(is|are) (a|an|the)\b"),
    )
)


@dataclass(frozen=True, slots=True)
class _Candidate:
    passage: SourcePassage
    order: int
    text: str
    words: list[str]


class ExtractiveAnswerer:
    """Scores each sentence by the question's words it holds, its passage's rank, and the kind of answer asked for."""

    name = "extractive"
    model = "sentences-1"

    async def stream(self, request: AnswerRequest) -> AsyncIterator[AnswerDelta]:
        """Yield one quoted sentence at a time, each with its citation."""
        for position, candidate in enumerate(select(request.question, request.passages)):
            lead = " " if position else ""
            yield AnswerDelta(f"{lead}{candidate.text} [{candidate.passage.number}]")
        yield AnswerDelta("", Usage())

    async def close(self) -> None:
        """Nothing is held."""


def select(question: str, passages: Sequence[SourcePassage]) -> list[_Candidate]:
    """The sentences to quote, best first, without repeating one another."""
    candidates = [
        _Candidate(passage, order, sentence, stems(sentence))
        for passage in passages
        for order, sentence in enumerate(split_sentences(passage.text))
    ]
    weights = inverse_document_frequency([candidate.words for candidate in candidates])
    wanted = stems(question)
    best_score = max((passage.score for passage in passages), default=0.0) or 1.0
    cues = [answer for asked, answer in _CUES if asked.search(question)]

    def score(candidate: _Candidate) -> float:
        words = coverage(wanted, candidate.words, weights)
        place = coverage(wanted, stems(candidate.passage.title), weights) * 0.2
        cue = CUE_BONUS * words if any(cue.search(candidate.text) for cue in cues) else 0.0
        too_long = max(0, len(candidate.words) - LONG_SENTENCE_WORDS) / LONG_SENTENCE_WORDS
        return words + place + cue + RANK_BONUS * candidate.passage.score / best_score - 0.2 * min(too_long, 1.0)

    ranked = sorted(((score(candidate), candidate) for candidate in candidates), key=lambda pair: -pair[0])
    chosen: list[_Candidate] = []
    for value, candidate in ranked:
        if len(chosen) == MAX_SENTENCES or value < NEARLY * ranked[0][0]:
            break
        if all(coverage(candidate.words, other.words) < 0.7 for other in chosen):
            chosen.append(candidate)
    return chosen
