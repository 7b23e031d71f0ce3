"""From two lists of hits to one list of candidates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from app.retrieval.candidates import Candidate, Dropped, Row, Stage, Standing
from app.retrieval.fusion import reciprocal_rank_fusion, weighted_fusion
from app.retrieval.options import RetrievalOptions
from app.settings import Fusion, Strategy
from app.vectors.protocols import Hit

_WEIGHTS_OF_ONE = {Strategy.DENSE: [1.0, 0.0], Strategy.SPARSE: [0.0, 1.0]}


@dataclass(frozen=True, slots=True)
class Proposed:
    """Visible hits of both searches, and the hits that are not visible."""

    rows: Mapping[UUID, Row]
    dense: Sequence[Hit]
    sparse: Sequence[Hit]
    hidden: Sequence[Candidate]


def fuse(proposed: Proposed, options: RetrievalOptions) -> list[Candidate]:
    """All visible hits in one order. The lists hold nothing else: what is gone moves nobody's rank."""
    lists = [(Stage.DENSE, proposed.dense), (Stage.SPARSE, proposed.sparse)]
    found = {hit.chunk_id: Candidate(hit.chunk_id, proposed.rows[hit.chunk_id]) for _, hits in lists for hit in hits}
    for stage, hits in lists:
        for rank, hit in enumerate(hits, start=1):
            found[hit.chunk_id].standings[stage] = Standing(rank, hit.score)
    weights = _WEIGHTS_OF_ONE.get(options.strategy, [options.weights.dense, options.weights.sparse])
    if options.fusion is Fusion.RRF:
        # Equal weights give the method's own scores.
        scale = sum(weight > 0 for weight in weights) / sum(weights)
        fused = reciprocal_rank_fusion(
            [[hit.chunk_id for hit in hits] for _, hits in lists], [weight * scale for weight in weights]
        )
    else:
        fused = weighted_fusion([[(hit.chunk_id, hit.score) for hit in hits] for _, hits in lists], weights)
    for rank, (chunk_id, score) in enumerate(fused, start=1):
        found[chunk_id].standings[Stage.FUSION] = Standing(rank, score)
    return [found[chunk_id] for chunk_id, _ in fused]


def similar(
    candidates: Sequence[Candidate], cosines: Mapping[UUID, float], options: RetrievalOptions
) -> list[Candidate]:
    """Those near enough to the question's meaning; none of them when even the nearest is too far from it.

    A search by words alone has no cosine: there, a common word is all the evidence asked for.
    """
    if options.strategy is Strategy.SPARSE:
        return list(candidates)
    best = max(cosines.values(), default=0.0)
    kept: list[Candidate] = []
    for candidate in candidates:
        if options.threshold > 0 and best < options.threshold:
            candidate.dropped = Dropped.THRESHOLD
        elif options.min_similarity > 0 and cosines.get(candidate.chunk_id, 0.0) < options.min_similarity:
            candidate.dropped = Dropped.MIN_SIMILARITY
        else:
            kept.append(candidate)
    return kept


def hidden_of(proposed: Sequence[Sequence[Hit]], rows: Mapping[UUID, Row]) -> list[Candidate]:
    """The hits that the database does not show."""
    hidden: dict[UUID, Candidate] = {}
    for stage, hits in zip((Stage.DENSE, Stage.SPARSE), proposed, strict=True):
        for rank, hit in enumerate(hits, start=1):
            if hit.chunk_id not in rows:
                candidate = hidden.setdefault(hit.chunk_id, Candidate(hit.chunk_id, None, dropped=Dropped.NOT_VISIBLE))
                candidate.standings[stage] = Standing(rank, hit.score)
    return list(hidden.values())
