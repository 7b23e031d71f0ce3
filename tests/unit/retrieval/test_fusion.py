"""Reciprocal rank fusion keeps what its definition promises, whatever the lists."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from app.retrieval.fusion import reciprocal_rank_fusion

rankings = st.lists(st.lists(st.integers(0, 30), unique=True), max_size=4)


def test_an_item_in_both_lists_beats_the_best_of_one() -> None:
    fused = reciprocal_rank_fusion([["a", "b"], ["c", "b"]])
    assert [item for item, _ in fused] == ["b", "a", "c"]
    assert fused[0][1] == 2 / 62


@given(rankings)
def test_every_item_comes_once_best_first(lists: list[list[int]]) -> None:
    fused = reciprocal_rank_fusion(lists)
    assert sorted(item for item, _ in fused) == sorted({item for ranking in lists for item in ranking})
    scores = [score for _, score in fused]
    assert scores == sorted(scores, reverse=True)


@given(st.lists(st.integers(), unique=True))
def test_one_list_keeps_its_order(ranking: list[int]) -> None:
    assert [item for item, _ in reciprocal_rank_fusion([ranking, []])] == ranking
