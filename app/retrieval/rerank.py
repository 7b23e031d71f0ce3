"""The reranking step: a second, dearer look at the best candidates, which never fails a question."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import structlog

from app.errors import ProviderError
from app.providers.protocols import Reranker
from app.retrieval.candidates import Candidate, RerankOutcome, Stage, Standing

log = structlog.get_logger(__name__)
NOT_CONFIGURED = "No reranker is configured: set RERANK_URL."
# One that failed is left alone this long, so that not every question waits for its timeout.
PAUSE_SECONDS = 10.0


class RerankStep:
    """Puts the best candidates into the reranker's order; those behind them keep theirs."""

    def __init__(self, reranker: Reranker | None, candidates: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._reranker = reranker
        self._candidates = candidates
        self._clock = clock
        self._paused_until = 0.0
        self._reason = ""

    @property
    def model(self) -> str:
        """Who ranks: part of what an answer depends on."""
        return "" if self._reranker is None else self._reranker.model

    async def apply(
        self, question: str, ranked: Sequence[Candidate], top_k: int
    ) -> tuple[list[Candidate], RerankOutcome]:
        """The candidates in their new order; in their old one, with the reason, when the reranker fails."""
        if self._reranker is None:
            return list(ranked), RerankOutcome(False, reason=NOT_CONFIGURED)
        if self._clock() < self._paused_until:
            return list(ranked), RerankOutcome(False, self.model, self._reason)
        head, tail = ranked[: max(self._candidates, top_k)], ranked[max(self._candidates, top_k) :]
        if not head:
            return [], RerankOutcome(True, self.model)
        try:
            scores = await self._reranker.scores(question, [_text(candidate) for candidate in head])
        except ProviderError as error:
            log.warning("rerank.failed", detail=error.detail, cause=type(error.__cause__).__name__)
            self._paused_until, self._reason = self._clock() + PAUSE_SECONDS, error.detail
            return list(ranked), RerankOutcome(False, self.model, error.detail)
        order = sorted(range(len(head)), key=lambda index: -scores[index])
        for rank, index in enumerate(order, start=1):
            head[index].standings[Stage.RERANK] = Standing(rank, scores[index])
        return [*(head[index] for index in order), *tail], RerankOutcome(True, self.model)


def _text(candidate: Candidate) -> str:
    row = candidate.visible
    return "\n".join([" > ".join(dict.fromkeys([row.title, *row.heading_path])), row.text])
