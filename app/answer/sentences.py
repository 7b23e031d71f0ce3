"""Sentences and their words: what the extractive answerer and the citation check compare.

Everything here is linear in the length of the text, whatever the text is.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

# The number of a reference may follow: "grew.[12] It". Chinese and Japanese full stops need no space behind them.
# A run of dots is looked at once, from its beginning, and never again from within: tables of contents are full of them.
_TERMINATOR = re.compile(
    r"(?<![.!?\u2026])[.!?\u2026]++[\"')\]\u00bb\u201d\u2019]*+(?:\[\d{1,3}(?:, ?\d{1,3})*+\])*+(?=\s)"
    r"|[\u3002\uff01\uff1f\uff61]++[\u300d\u300f\u201d\u2019\uff09]*+"
)
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['\u2019][^\W_]+)?")
_LIST_ITEM = re.compile(r"\s*(?:[-*+•‣]|\d{1,3}[.)])\s")
_CODE = re.compile(r"(?:\t| {4}|\s*(?:\$ |>>> |[#/]{2} ))|.*(?:[;{}\\]|\s:?=\s.{1,200})$")
_ITEM_NUMBER = re.compile(r"\d{1,3}")
_VOWEL = re.compile("[aeiouy]")
_OPENING = "\"'([\u00ab\u201c\u2018\u00bf\u00a1"
# These end no sentence.
_ABBREVIATIONS = frozenset(
    (
        "approx art ca cap capt cf ch col dr e.g ed eds eq esp est fig figs gen gov hon i.e lt mr mrs ms nr op p pp "
        "prof rep rev sec sen sgt st viz vol vs"
    ).split()
)
# These end one when a word follows that starts most sentences, as a single letter does: "vitamin C. The".
_AMBIGUOUS = frozenset("a.m al bros co corp dept etc inc jr ltd p.m sr u.k u.n u.s".split())
STOP_WORDS = frozenset(
    (
        "a about above after all also am an and any are as at be because been before being below between both but "
        "by can could did do does doing down during each few for from further had has have having he her here hers "
        "him his how i if in into is it its just may me might more most must my no nor not now of off on once only "
        "or other our out over own same shall she should so some such than that the their them then there these "
        "they this those through to too under until up very was we were what when where which while who whom whose "
        "why will with would you your"
    ).split()
)


def split_sentences(text: str) -> list[str]:
    """Sentences in order, verbatim but for squeezed white space.

    A row of a table, a line of code and an item of a list stand alone; abbreviations, initials and decimals
    end nothing.
    """
    return [
        " ".join(unit[start:end].split())
        for unit, whole in _units(text)
        for start, end in ([(0, len(unit))] if whole else sentence_spans(unit))
    ]


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """Character ranges of the sentences of running text; what stands between two of them is white space."""
    spans: list[tuple[int, int]] = []
    start = 0
    for match in _TERMINATOR.finditer(text):
        if _ends_sentence(text, start, match):
            spans.append((start, match.end()))
            start = match.end()
    spans.append((start, len(text)))
    stripped = (_strip(text, start, end) for start, end in spans)
    return [(start, end) for start, end in stripped if start < end]


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    part = text[start:end]
    return start + len(part) - len(part.lstrip()), end - (len(part) - len(part.rstrip()))


def _ends_sentence(text: str, start: int, match: re.Match[str]) -> bool:
    following = text[match.end() : match.end() + 40].lstrip().lstrip(_OPENING)
    mark = match.group()
    if mark[0] > "\u3000" or not following:
        return True
    if following[0].islower():
        return False
    return mark[0] != "." or mark.startswith("..") or not _abbreviates(text, start, match.start(), following)


def _abbreviates(text: str, start: int, stop: int, following: str) -> bool:
    """Whether the full stop at ``stop`` belongs to the word (or the number of a list's item) before it."""
    if stop - start < 20 and _ITEM_NUMBER.fullmatch(text[start:stop].strip()):
        return True
    before = text[max(start, stop - 12) : stop].split()
    word = before[-1].lstrip(_OPENING) if before else ""
    folded = word.casefold()
    if folded in {"no", "nos"}:
        return following[0].isdigit()
    if folded in _AMBIGUOUS or (len(word) == 1 and word.isupper()):
        first = _WORD.match(following)
        return first is None or len(first.group()) == 1 or first.group().casefold() not in STOP_WORDS
    return folded in _ABBREVIATIONS


def _units(text: str) -> Iterator[tuple[str, bool]]:
    """Stretches of running text, and lines that stand alone (True), in order."""
    held: list[str] = []
    fenced = in_list = False
    for line in text.split("\n"):
        fence = line.lstrip().startswith("```")
        blank = not line.strip()
        fenced ^= fence
        item = not fenced and _LIST_ITEM.match(line) is not None
        # An indented line below an item belongs to it.
        alone = fenced or fence or " | " in line or (not (item or in_list) and _CODE.match(line) is not None)
        if held and (blank or item or alone):
            yield "\n".join(held), False
            held = []
        if alone and not blank:
            yield line, True
        elif not blank:
            held.append(line)
        in_list = item or (in_list and not blank)
    if held:
        yield "\n".join(held), False


def stems(text: str) -> list[str]:
    """Content words in order, without accents, case and common English endings; each CJK character is a word."""
    folded = unicodedata.normalize("NFKD", text).casefold()
    plain = "".join(char for char in folded if not unicodedata.combining(char))
    words = (_without_possessive(word) for word in _WORD.findall(unicodedata.normalize("NFC", plain)))
    return [stem(word) for word in words if word not in STOP_WORDS]


def _without_possessive(word: str) -> str:
    return word.removesuffix("'s").removesuffix("\u2019s")


@lru_cache(maxsize=16_384)
def stem(word: str) -> str:
    """A light stem of a folded word: plural, then past and progressive, then a last ``e``.

    The stages follow steps 1a and 1b of Porter (1980), so that every form of a regular verb or noun meets.
    """
    if len(word) > 4 and word.endswith("ies"):
        word = word[:-3] + "y"
    elif len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    if len(word) > 4 and word.endswith("ied"):
        return word[:-3] + "y"
    for ending in ("ing", "ed"):
        rest = word.removesuffix(ending)
        if rest != word and len(rest) > 1 and not word.endswith("eed") and _VOWEL.search(rest):
            return _undoubled(rest).removesuffix("e")
    return word.removesuffix("e") if len(word) > 2 else word


def _undoubled(word: str) -> str:
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "lsz":
        return word[:-1]
    return word


def inverse_document_frequency(texts: Iterable[Sequence[str]]) -> dict[str, float]:
    """Weight of each stem: rare ones tell sentences apart (Spärck Jones 1972)."""
    documents = [set(words) for words in texts]
    counts = Counter(word for words in documents for word in words)
    return {word: math.log(1 + len(documents) / count) for word, count in counts.items()}


def coverage(wanted: Iterable[str], present: Collection[str], weights: Mapping[str, float] | None = None) -> float:
    """Which share, by weight, of the wanted stems is present: 0 to 1; a stem without a weight counts 1."""
    weights = weights or {}
    needed = set(wanted)
    there = present if isinstance(present, (set, frozenset)) else set(present)
    total = sum(weights.get(word, 1.0) for word in needed)
    return sum(weights.get(word, 1.0) for word in needed if word in there) / total if total else 0.0
