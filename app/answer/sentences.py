"""Sentences and their words: what the extractive answerer and the citation check compare."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

_END = re.compile(r"(?<=[.!?])[\"')\]»”]*\s+(?=[\"'(\[«“]?[A-Z0-9À-Þ])")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|Mr|Mrs|Ms|Dr|Prof|St|No|Fig|Sec|Vol|approx|[A-Z]))\.$")
_WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
STOP_WORDS = frozenset(
    (
        "a about above after all also am an and any are as at be because been before being below between both but "
        "by can could did do does doing down during each few for from further had has have having he her here hers "
        "him his how i if in into is it its just may me might more most must my no nor not now of off on once only "
        "or other our out over own same shall she should so some such than that the their them then there these "
        "they this those through to too under until up very was we were what when where which while who whom whose "
        "why will with would you your "
    ).split()
)


def split_sentences(text: str) -> list[str]:
    """Sentences in order, white space squeezed; a table's rows stand alone, abbreviations end nothing."""
    sentences: list[str] = []
    for paragraph in re.split(r"\n\s*\n", text):
        lines = paragraph.split("\n")
        for unit in lines if any(" | " in line for line in lines) else [paragraph]:
            held = ""
            for part in _END.split(unit):
                held = f"{held} {part}" if held else part
                if not _ABBREVIATION.search(held):
                    sentences.append(held)
                    held = ""
            if held:
                sentences.append(held)
    return [squeezed for sentence in sentences if (squeezed := " ".join(sentence.split()))]


def stems(text: str) -> list[str]:
    """Content words in order, without accents, case and common English endings."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(char for char in folded if not unicodedata.combining(char))
    return [stem(word) for word in _WORD.findall(plain) if word not in STOP_WORDS]


def stem(word: str) -> str:
    """A light stem: plural, past and progressive endings are cut where enough is left to tell words apart."""
    word = word.removesuffix("'s").removesuffix("\u2019s")
    for ending, replacement, least in (
        ("ies", "y", 5),
        ("sses", "ss", 5),
        ("ing", "", 6),
        ("ed", "", 5),
        ("es", "e", 5),
    ):
        if word.endswith(ending) and len(word) >= least:
            return _undoubled(word.removesuffix(ending) + replacement).removesuffix("e")
    if word.endswith("s") and not word.endswith(("ss", "us", "is")) and len(word) > 3:
        word = word[:-1]
    return word.removesuffix("e") if len(word) > 3 else word


def _undoubled(word: str) -> str:
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
        return word[:-1]
    return word


def inverse_document_frequency(texts: Iterable[Sequence[str]]) -> dict[str, float]:
    """Weight of each stem: rare ones tell sentences apart (Spärck Jones 1972)."""
    documents = [set(words) for words in texts]
    counts = Counter(word for words in documents for word in words)
    return {word: math.log(1 + len(documents) / count) for word, count in counts.items()}


def coverage(wanted: Iterable[str], present: Iterable[str], weights: dict[str, float] | None = None) -> float:
    """Which share, by weight, of the wanted stems is present: 0 to 1; a stem without a weight counts 1."""
    weights = weights or {}
    needed = set(wanted)
    there = set(present)
    total = sum(weights.get(word, 1.0) for word in needed)
    return sum(weights.get(word, 1.0) for word in needed & there) / total if total else 0.0
