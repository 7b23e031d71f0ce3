"""Asks every question of a set and sums up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from statistics import fmean
from typing import TYPE_CHECKING, Any

from app.evaluation import metrics
from app.evaluation.dataset import Dataset

if TYPE_CHECKING:
    from app.evaluation.targets import Target

Progress = Callable[[str, int, int], None]


class Run(StrEnum):
    """A way to retrieve that can be measured."""

    HYBRID = "hybrid"
    DENSE = "dense"
    SPARSE = "sparse"
    RRF = "rrf"
    WEIGHTED = "weighted"
    RERANKED = "reranked"


# As fields of a search request. ``hybrid`` is what the service does when nothing is said.
WISHES: dict[Run, dict[str, Any]] = {
    Run.HYBRID: {"strategy": "hybrid"},
    Run.DENSE: {"strategy": "dense"},
    Run.SPARSE: {"strategy": "sparse"},
    Run.RRF: {"strategy": "hybrid", "fusion": "rrf"},
    Run.WEIGHTED: {"strategy": "hybrid", "fusion": "weighted"},
    Run.RERANKED: {"strategy": "hybrid", "rerank": True},
}


@dataclass(frozen=True, slots=True)
class Ranking:
    """Means over the judged questions, 0 to 1."""

    run: str
    questions: int
    ndcg_10: float
    recall_10: float
    recall_100: float
    mrr: float
    p_1: float


@dataclass(frozen=True, slots=True)
class Answers:
    """Means over the questions with known answers, 0 to 1; None where there was nothing to measure it by.

    ``citation_precision``: of the documents cited, the share that is judged relevant. ``abstained``: of the
    answerable questions, the share that was refused; ``abstained_rightly``: of those without an answer.
    """

    questions: int
    exact_match: float | None
    f1: float | None
    contains: float | None
    citation_precision: float | None
    abstained: float | None
    abstained_rightly: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """All figures of a set."""

    dataset: str
    documents: int
    rankings: list[Ranking]
    answers: Answers | None

    def as_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)


def quiet(what: str, done: int, whole: int) -> None:
    """Progress that nobody watches."""


async def measure(
    target: Target,
    dataset: Dataset,
    runs: Sequence[Run],
    *,
    answers: bool = False,
    provider: str | None = None,
    progress: Progress = quiet,
) -> Report:
    """Fill the target with the set and measure each run; with ``answers`` also what it answers."""
    progress("indexing", 0, len(dataset.documents))
    await target.fill(dataset.documents)
    rankings = [await measure_ranking(target, dataset, run, progress) for run in runs if dataset.judged]
    wishes = {} if provider is None else {"provider": provider}
    answered = await measure_answers(target, dataset, wishes, progress) if answers and dataset.answered else None
    return Report(dataset.name, len(dataset.documents), rankings, answered)


async def measure_ranking(target: Target, dataset: Dataset, run: Run, progress: Progress = quiet) -> Ranking:
    """One way to retrieve, over all judged questions."""
    rankings = []
    for number, question in enumerate(dataset.judged):
        progress(run, number, len(dataset.judged))
        rankings.append((await target.ranking(question.text, WISHES[run]), question.relevant))
    return Ranking(
        run,
        len(rankings),
        fmean(metrics.ndcg(ranked, grades, 10) for ranked, grades in rankings),
        fmean(metrics.recall(ranked, grades, 10) for ranked, grades in rankings),
        fmean(metrics.recall(ranked, grades, 100) for ranked, grades in rankings),
        fmean(metrics.reciprocal_rank(ranked, grades) for ranked, grades in rankings),
        fmean(metrics.precision(ranked, grades, 1) for ranked, grades in rankings),
    )


async def measure_answers(
    target: Target, dataset: Dataset, wishes: dict[str, Any], progress: Progress = quiet
) -> Answers:
    """Ask all questions with known answers; ``wishes`` are fields of a query request."""
    asked = []
    for number, question in enumerate(dataset.answered):
        progress("answers", number, len(dataset.answered))
        asked.append((question, await target.answer(question.text, wishes)))
    answerable = [(question.answers or (), answer) for question, answer in asked if question.answers]
    unanswerable = [answer for question, answer in asked if not question.answers]
    precisions = [
        fmean(cited in question.relevant for cited in answer.cited)
        for question, answer in asked
        if answer.cited and question.relevant
    ]
    # An abstention is no answer: nothing of it may be counted as said.
    said = [(accepted, answer.text if answer.grounded else "") for accepted, answer in answerable]
    return Answers(
        len(asked),
        _mean([metrics.exact_match(text, accepted) for accepted, text in said]),
        _mean([metrics.token_f1(text, accepted) for accepted, text in said]),
        _mean([metrics.contains(text, accepted) for accepted, text in said]),
        _mean(precisions),
        _mean([not answer.grounded for _, answer in answerable]),
        _mean([not answer.grounded for answer in unanswerable]),
    )


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None
