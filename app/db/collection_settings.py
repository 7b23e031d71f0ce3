"""What a collection sets for itself, kept as JSON in its row."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from app.settings import Strategy

CHUNK_TOKENS = 190
CHUNK_OVERLAP_TOKENS = 24


@dataclass(frozen=True, slots=True)
class CollectionSettings:
    """None follows the service's own setting. Sizes are in tokens of the embedding model."""

    description: str = ""
    chunk_tokens: int = CHUNK_TOKENS
    chunk_overlap_tokens: int = CHUNK_OVERLAP_TOKENS
    strategy: Strategy | None = None
    top_k: int | None = None
    threshold: float | None = None
    rerank: bool | None = None

    @classmethod
    def read(cls, stored: dict[str, Any]) -> Self:
        """From the row; what another release has written there and this one does not know is left alone."""
        known = {field.name: stored[field.name] for field in fields(cls) if field.name in stored}
        if known.get("strategy") is not None:
            known["strategy"] = Strategy(known["strategy"])
        return cls(**known)

    def written(self) -> dict[str, Any]:
        """For the row."""
        return asdict(self)
