"""Both fusions keep what their definitions promise, whatever the lists."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.retrieval.fusion import reciprocal_rank_fusion, weighted_fusion

Ranking = list[tuple[int, float]]
scores = st.floats(-5, 50, allow_nan=False)
rankings = st.dictionaries(st.integers(0, 30), scores, max_size=20).map(
    lambda found: sorted(found.items(), key=lambda pair: -pair[1])
)
pairs = st.tuples(rankings, rankings)


def by_ranks(lists: Sequence[Ranking], weights: Sequence[float]) -> Ranking:
    return reciprocal_rank_fusion([[item for item, _ in ranking] for ranking in lists], weights)


FUSIONS = pytest.mark.parametrize("fuse", [by_ranks, weighted_fusion])
Fuse = Callable[[Sequence[Ranking], Sequence[float]], Ranking]


def test_an_item_in_both_lists_beats_the_best_of_one() -> None:
    fused = reciprocal_rank_fusion([["a", "b"], ["c", "b"]])
    assert [item for item, _ in fused] == ["b", "a", "c"]
    assert fused[0][1] == 2 / 62


def test_scores_keep_how_far_apart_passages_are_where_ranks_do_not() -> None:
    """Both lists agree on nothing; by words the first is far ahead, by meaning all are alike."""
    words = [("exact", 20.0), ("other", 2.0), ("third", 1.0)]
    meaning = [("third", 0.52), ("other", 0.51), ("exact", 0.5)]
    assert weighted_fusion([meaning, words], [0.4, 0.6])[0][0] == "exact"


@FUSIONS
@given(lists=pairs)
def test_every_item_comes_once_best_first(fuse: Fuse, lists: tuple[Ranking, Ranking]) -> None:
    fused = fuse(lists, [0.5, 0.5])
    assert sorted(item for item, _ in fused) == sorted({item for ranking in lists for item, _ in ranking})
    values = [score for _, score in fused]
    assert values == sorted(values, reverse=True)


@FUSIONS
@given(ranking=rankings)
def test_one_list_keeps_its_order(fuse: Fuse, ranking: Ranking) -> None:
    assert [item for item, _ in fuse([ranking, []], [0.5, 0.5])] == [item for item, _ in ranking]


@FUSIONS
@given(lists=pairs)
def test_a_weight_of_zero_leaves_the_other_lists_order(fuse: Fuse, lists: tuple[Ranking, Ranking]) -> None:
    own = [item for item, _ in lists[1]]
    fused = [item for item, _ in fuse(lists, [0.0, 1.0])]
    assert [item for item in fused if item in own] == own


@given(pairs, st.floats(0.01, 100))
def test_only_the_ratio_of_weights_matters(lists: tuple[Ranking, Ranking], factor: float) -> None:
    fused = weighted_fusion(lists, [0.25, 0.75])
    again = dict(weighted_fusion(lists, [0.25 * factor, 0.75 * factor]))
    assert [again[item] for item, _ in fused] == pytest.approx([score for _, score in fused])
