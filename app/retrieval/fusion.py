"""Joining the ranking by meaning and the ranking by words."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import TypeVar

RANK_CONSTANT = 60

Item = TypeVar("Item", bound=Hashable)


def reciprocal_rank_fusion(
    rankings: Sequence[Sequence[Item]], weights: Sequence[float] | None = None, k: int = RANK_CONSTANT
) -> list[tuple[Item, float]]:
    """Join rankings, best first; an item scores weight / (k + rank) for each list it stands in, ranks from 1.

    Reciprocal rank fusion (Cormack, Clarke and Buettcher 2009). Weights are 1 if absent. Ties keep the order of the
    heavier list, so the outcome is the same every time.
    """
    scores: dict[Item, float] = {}
    for ranking, weight in _heaviest_first(rankings, weights or [1.0] * len(rankings)):
        for rank, item in enumerate(ranking, start=1):
            scores[item] = scores.get(item, 0.0) + weight / (k + rank)
    return _best_first(scores)


def weighted_fusion(
    rankings: Sequence[Sequence[tuple[Item, float]]], weights: Sequence[float]
) -> list[tuple[Item, float]]:
    """Join rankings, best first, by the weighted mean of their scores, each as a share of the best in its list.

    A convex combination (Bruch, Gai and Ingber 2023, "An Analysis of Fusion Functions for Hybrid Retrieval"): unlike
    ranks, it keeps by how much one passage is better than the next. The scale begins at 0, which says "unrelated" of a
    cosine as of BM25, and not at the list's last: so it does not depend on how deep the lists were read. An item that a
    list does not hold scores 0 there; weights count by their ratio. Ties keep the order of the heavier list.
    """
    scores: dict[Item, float] = {}
    total = sum(weights)
    for ranking, weight in _heaviest_first(rankings, weights):
        best = max((score for _, score in ranking), default=0.0)
        for item, score in ranking:
            share = max(0.0, score) / best if best > 0 else 0.0
            scores[item] = scores.get(item, 0.0) + weight / total * share
    return _best_first(scores)


def scaled_scores(ranking: Sequence[tuple[Item, float]]) -> list[tuple[Item, float]]:
    """The scores from 0 (the least of the list) to 1 (the best); 1 for all where all are equal."""
    if not ranking:
        return []
    low, high = min(score for _, score in ranking), max(score for _, score in ranking)
    span = high - low
    return [(item, (score - low) / span if span > 0 else 1.0) for item, score in ranking]


Ranked = TypeVar("Ranked")


def _heaviest_first(rankings: Sequence[Ranked], weights: Sequence[float]) -> list[tuple[Ranked, float]]:
    return sorted(zip(rankings, weights, strict=True), key=lambda pair: -pair[1])


def _best_first(scores: dict[Item, float]) -> list[tuple[Item, float]]:
    return sorted(scores.items(), key=lambda pair: -pair[1])
