"""What a retrieval weighs: each proposed passage, where it stood at every stage, and why it was left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from uuid import UUID


class Stage(StrEnum):
    """The steps that rank, in their order."""

    DENSE = "dense"
    SPARSE = "sparse"
    FUSION = "fusion"
    RERANK = "rerank"
    MMR = "mmr"


class Dropped(StrEnum):
    """Why a proposed passage is not among those found."""

    NOT_VISIBLE = "not_visible"
    THRESHOLD = "threshold"
    MIN_SIMILARITY = "min_similarity"
    TOP_K = "top_k"
    MERGED = "merged"


@dataclass(frozen=True, slots=True)
class Standing:
    """A rank (from 1) and the score that gave it: cosine, BM25, or the stage's own."""

    rank: int
    score: float


@dataclass(frozen=True, slots=True)
class Row:
    """A visible chunk, as the database has it."""

    chunk_id: UUID
    document_id: UUID
    version_id: UUID
    position: int
    title: str
    source: str
    text: str
    heading_path: tuple[str, ...]
    page: int | None
    media_type: str


@dataclass(slots=True)
class Candidate:
    """A proposed chunk on its way through the stages; ``row`` is None when the database does not show it."""

    chunk_id: UUID
    row: Row | None
    standings: dict[Stage, Standing] = field(default_factory=dict)
    dropped: Dropped | None = None
    merged_into: UUID | None = None

    def score(self, stage: Stage) -> float | None:
        """Its score at a stage, or None where it did not stand in it."""
        standing = self.standings.get(stage)
        return None if standing is None else standing.score

    @property
    def final_score(self) -> float:
        """The score of the last stage that ranked by relevance."""
        return next(s.score for stage in (Stage.RERANK, Stage.FUSION) if (s := self.standings.get(stage)) is not None)

    @property
    def visible(self) -> Row:
        """Its row; only candidates that are visible get past the first stage."""
        if self.row is None:
            raise RuntimeError(f"chunk {self.chunk_id} is ranked and not visible")
        return self.row


@dataclass(frozen=True, slots=True)
class RerankOutcome:
    """Whether the reranker did what was asked of it, and why not."""

    applied: bool
    model: str | None = None
    reason: str | None = None
