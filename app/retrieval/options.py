"""How to retrieve: what a request may wish for, and what it comes to."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from app.db.collection_settings import CollectionSettings
from app.settings import Fusion, Strategy
from app.vectors.filters import Filter


@dataclass(frozen=True, slots=True)
class Weights:
    """How much either search counts in a fusion; only their ratio matters. Not negative, not both zero."""

    dense: float = 0.5
    sparse: float = 0.5


@dataclass(frozen=True, slots=True)
class RetrievalOptions:
    """Everything that decides what a retrieval finds, beside the documents.

    ``threshold`` is the least cosine of the best passage, else nothing is found; ``min_similarity`` that of every
    passage. 0 turns either off; neither holds for a search by words alone, which has no cosine.
    ``mmr_lambda`` 1 is relevance alone, 0 is diversity alone; None turns it off. ``expand`` is how many neighbours on
    either side a passage takes in.
    """

    strategy: Strategy = Strategy.HYBRID
    top_k: int = 5
    fusion: Fusion = Fusion.WEIGHTED
    weights: Weights = Weights()
    filters: Filter | None = None
    threshold: float = 0.0
    min_similarity: float = 0.0
    mmr_lambda: float | None = None
    rerank: bool = False
    expand: int = 0


@dataclass(frozen=True, slots=True)
class RetrievalWishes:
    """What a request asks for; None follows the collection, then the service."""

    strategy: Strategy | None = None
    top_k: int | None = None
    fusion: Fusion | None = None
    weights: Weights | None = None
    filters: Filter | None = None
    threshold: float | None = None
    min_similarity: float | None = None
    mmr_lambda: float | None = None
    rerank: bool | None = None
    expand: int | None = None

    def options(self, defaults: RetrievalOptions, collection: CollectionSettings, max_results: int) -> RetrievalOptions:
        """The request's wishes over the collection's settings over ``defaults``; never more than ``max_results``."""
        settled = defaults
        own = RetrievalWishes(
            collection.strategy, collection.top_k, threshold=collection.threshold, rerank=collection.rerank
        )
        for level in (own, self):
            named = {field.name: getattr(level, field.name) for field in fields(level)}
            settled = replace(settled, **{name: value for name, value in named.items() if value is not None})
        return replace(settled, top_k=min(settled.top_k, max_results))
