"""Retrieval quality on judged sets, all by the settings that the service comes with."""

from __future__ import annotations

import asyncio

from app.evaluation.run import Report
from tests.bench.retrieval import reports
from tests.prove.scorecard import Figure

LEAST_NDCG = {"cranfield": 0.56, "xquad-en": 0.97}
LEAST_P1 = {"xquad-en": 0.937}


def measure() -> list[Figure]:
    """Rows of each set."""
    return [figure for report in asyncio.run(reports()) for figure in _figures(report)]


def _figures(report: Report) -> list[Figure]:
    by_run = {ranking.run: ranking for ranking in report.rankings}
    hybrid, better = by_run["hybrid"], max(by_run["dense"].ndcg_10, by_run["sparse"].ndcg_10)
    name, least = report.dataset, LEAST_NDCG[report.dataset]
    figures = [
        Figure(f"nDCG@10 on {name}, hybrid", f"≥ {least}", f"{hybrid.ndcg_10:.3f}", hybrid.ndcg_10 >= least),
        Figure(
            f"the same over the better of dense and sparse, {name}",
            "> 0",
            f"{hybrid.ndcg_10 - better:+.3f}",
            hybrid.ndcg_10 > better,
        ),
        Figure(f"recall@100 on {name}, hybrid", "-", f"{hybrid.recall_100:.3f}", True),
    ]
    if (least_p1 := LEAST_P1.get(name)) is not None:
        figures.append(Figure(f"P@1 on {name}, hybrid", f"≥ {least_p1}", f"{hybrid.p_1:.3f}", hybrid.p_1 >= least_p1))
    return figures
