"""Maximal marginal relevance: passages that are relevant, and not all the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def maximal_marginal_relevance(
    relevance: Sequence[float], vectors: NDArray[np.float32], mix: float, count: int
) -> list[tuple[int, float]]:
    """Choose up to ``count`` items one after another; return their positions and the score that each was chosen by.

    An item scores ``mix`` * its relevance (0 to 1) - (1 - ``mix``) * its greatest cosine to those chosen before it
    (Carbonell and Goldstein 1998). ``vectors`` has shape (items, dimension), unit length. Ties go to the earlier item.
    """
    gain = np.asarray(relevance, np.float64) * mix
    nearest = np.full(len(relevance), -np.inf)
    chosen: list[tuple[int, float]] = []
    left = np.ones(len(relevance), bool)
    while len(chosen) < min(count, len(relevance)):
        scores = gain - (1 - mix) * np.where(np.isneginf(nearest), 0.0, nearest)
        best = int(np.argmax(np.where(left, scores, -np.inf)))
        chosen.append((best, float(scores[best])))
        left[best] = False
        nearest = np.maximum(nearest, vectors @ vectors[best])
    return chosen
