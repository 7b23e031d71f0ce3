"""Maximal marginal relevance, held to its definition."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from app.retrieval.diversity import maximal_marginal_relevance


def unit(rows: list[list[float]]) -> NDArray[np.float32]:
    matrix = np.asarray(rows, np.float32) + 1e-3
    scaled: NDArray[np.float32] = (matrix / np.linalg.norm(matrix, axis=1, keepdims=True)).astype(np.float32)
    return scaled


def test_a_copy_of_what_is_chosen_already_comes_after_something_new() -> None:
    vectors = unit([[1, 0], [1, 0.01], [0, 1]])
    assert [item for item, _ in maximal_marginal_relevance([1.0, 0.99, 0.6], vectors, 0.5, 3)] == [0, 2, 1]


items = st.lists(st.tuples(st.floats(0, 1), st.lists(st.floats(0, 1), min_size=3, max_size=3)), min_size=1, max_size=8)


@given(items, st.floats(0, 1), st.integers(1, 10))
def test_each_choice_is_the_best_by_the_formula(given: list[tuple[float, list[float]]], mix: float, count: int) -> None:
    relevance = [first for first, _ in given]
    vectors = unit([second for _, second in given])
    chosen = maximal_marginal_relevance(relevance, vectors, mix, count)
    assert len({item for item, _ in chosen}) == len(chosen) == min(count, len(given))
    for place, (item, score) in enumerate(chosen):
        before = [earlier for earlier, _ in chosen[:place]]

        def worth(candidate: int, before: list[int] = before) -> float:
            nearest = max((float(vectors[candidate] @ vectors[other]) for other in before), default=0.0)
            return mix * relevance[candidate] - (1 - mix) * nearest

        left = [candidate for candidate in range(len(given)) if candidate not in before]
        assert abs(score - worth(item)) < 1e-5
        assert score >= max(map(worth, left)) - 1e-5


@given(items)
def test_relevance_alone_keeps_the_order(given: list[tuple[float, list[float]]]) -> None:
    relevance = sorted((first for first, _ in given), reverse=True)
    chosen = maximal_marginal_relevance(relevance, unit([second for _, second in given]), 1.0, len(given))
    assert [item for item, _ in chosen] == list(range(len(given)))
