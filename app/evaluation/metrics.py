"""The figures: of one ranking, and of one answer. ``tests`` hold the rankings' to trec_eval's."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def ndcg(ranked: Sequence[str], grades: Mapping[str, int], depth: int) -> float:
    """Normalised discounted cumulative gain of the first ``depth`` (Järvelin and Kekäläinen 2002), 0 to 1.

    A grade is the gain; rank r is discounted by log2(r + 1); the best possible ranking has 1.
    """
    ideal = _gain(sorted(grades.values(), reverse=True)[:depth])
    return _gain([grades.get(item, 0) for item in ranked[:depth]]) / ideal if ideal else 0.0


def recall(ranked: Sequence[str], grades: Mapping[str, int], depth: int) -> float:
    """The share of the relevant ones among the first ``depth``."""
    return len(set(ranked[:depth]) & set(grades)) / len(grades) if grades else 0.0


def reciprocal_rank(ranked: Sequence[str], grades: Mapping[str, int]) -> float:
    """1 / the rank of the first relevant one; 0 when there is none."""
    return next((1 / rank for rank, item in enumerate(ranked, start=1) if item in grades), 0.0)


def precision(ranked: Sequence[str], grades: Mapping[str, int], depth: int) -> float:
    """The share of relevant ones among the first ``depth`` places."""
    return sum(item in grades for item in ranked[:depth]) / depth


def exact_match(answer: str, accepted: Sequence[str]) -> float:
    """1 when the answer is one of those accepted, up to case, articles, punctuation and spaces (SQuAD)."""
    return float(any(_normal(answer) == _normal(one) for one in accepted))


def token_f1(answer: str, accepted: Sequence[str]) -> float:
    """The best harmonic mean of precision and recall over words, as SQuAD reckons it (Rajpurkar et al. 2016)."""
    return max((_f1(_normal(answer).split(), _normal(one).split()) for one in accepted), default=0.0)


def contains(answer: str, accepted: Sequence[str]) -> float:
    """1 when an accepted answer stands in the answer word for word: whole sentences answer, too."""
    said = f" {_normal(answer)} "
    return float(any(f" {_normal(one)} " in said for one in accepted))


def _gain(grades: Sequence[int]) -> float:
    return sum(grade / math.log2(rank + 1) for rank, grade in enumerate(grades, start=1))


def _normal(text: str) -> str:
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def _f1(said: Sequence[str], wanted: Sequence[str]) -> float:
    common = sum((Counter(said) & Counter(wanted)).values())
    if not common:
        return float(list(said) == list(wanted))
    return 2 * common / (len(said) + len(wanted))
