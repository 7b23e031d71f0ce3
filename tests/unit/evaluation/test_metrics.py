"""Rankings are judged as trec_eval judges them, answers as SQuAD's script does."""

from __future__ import annotations

import pytest
import pytrec_eval
from hypothesis import given
from hypothesis import strategies as st

from app.evaluation import metrics

ids = st.text("abcdefghijklmnop", min_size=1, max_size=1)


@given(st.lists(ids, unique=True, max_size=16), st.dictionaries(ids, st.integers(1, 4), min_size=1, max_size=8))
def test_rankings_are_judged_as_trec_eval_does(ranked: list[str], grades: dict[str, int]) -> None:
    names = {"ndcg_cut.10", "recall.10", "recip_rank", "P.1"}
    run = {item: float(len(ranked) - place) for place, item in enumerate(ranked)}
    judged = pytrec_eval.RelevanceEvaluator({"q": grades}, names).evaluate({"q": run or {"absent": 1.0}})["q"]
    assert metrics.ndcg(ranked, grades, 10) == pytest.approx(judged["ndcg_cut_10"])
    assert metrics.recall(ranked, grades, 10) == pytest.approx(judged["recall_10"])
    assert metrics.reciprocal_rank(ranked, grades) == pytest.approx(judged["recip_rank"])
    assert metrics.precision(ranked, grades, 1) == pytest.approx(judged["P_1"])


@pytest.mark.parametrize(
    ("answer", "accepted", "exact", "f1", "contained"),
    [
        ("The 308 points.", ["308 points"], 1.0, 1.0, 1.0),
        ("308", ["308 points"], 0.0, 2 / 3, 0.0),
        ("They gave up 308 points in all.", ["308 points", "none"], 0.0, 4 / 9, 1.0),
        ("3081", ["308"], 0.0, 0.0, 0.0),
        ("", ["308"], 0.0, 0.0, 0.0),
        ("anything", [], 0.0, 0.0, 0.0),
    ],
)
def test_answers_are_judged_by_their_words(
    answer: str, accepted: list[str], exact: float, f1: float, contained: float
) -> None:
    found = (
        metrics.exact_match(answer, accepted),
        metrics.token_f1(answer, accepted),
        metrics.contains(answer, accepted),
    )
    assert found == pytest.approx((exact, f1, contained))
