"""What questions and searches may say about how passages are found."""

from __future__ import annotations

from typing import Any, Self

from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.retrieval.options import RetrievalWishes, Weights
from app.settings import Fusion, Strategy
from app.vectors.filter_reader import FilterError, parse_filter
from app.vectors.filters import Filter

FILTERS = """Only passages of documents that match: `{field: value}` or `{field: {condition: value}}`, joined by and.

Fields: `document_id`, `source`, `title`, `media_type`, and any key of the documents' metadata (`metadata.` before a key
says so where both have a name). Conditions: `eq`, `ne`, `in`, `nin`, `exists`, and for numbers and ISO dates `gt`,
`gte`, `lt`, `lte`. `$and`, `$or` (lists of filters) and `$not` (a filter) join, up to 4 levels deep. A list in the
metadata matches when one of its items does; `ne`, `nin` and `$not` match documents that lack the field, too."""


class FusionWeights(BaseModel):
    """How much either search counts; only the ratio matters."""

    model_config = ConfigDict(extra="forbid")
    dense: float = Field(0.5, ge=0, le=1)
    sparse: float = Field(0.5, ge=0, le=1)

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if self.dense + self.sparse == 0:
            raise ValueError("dense and sparse can't both be 0")
        return self


class RetrievalFields(BaseModel):
    """All optional: what is left out follows the collection's settings, then the service's."""

    top_k: int | None = Field(None, ge=1, le=100, description="How many passages at most.")
    strategy: Strategy | None = Field(None, description="By meaning (dense), by words (sparse), or both (hybrid).")
    fusion: Fusion | None = Field(None, description="How hybrid joins both: by ranks or by scaled scores.")
    weights: FusionWeights | None = Field(None, description="What either search counts in the fusion.")
    filters: dict[str, Any] | None = Field(
        None,
        description=FILTERS,
        examples=[{"year": {"gte": 2020}, "lang": "en", "tag": {"in": ["manual", "guide"]}}],
    )
    threshold: float | None = Field(
        None, ge=0, le=1, description="Least cosine of the best passage; below it nothing is found. 0 turns it off."
    )
    min_similarity: float | None = Field(None, ge=0, le=1, description="Least cosine of each passage.")
    mmr_lambda: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Diversity (maximal marginal relevance): 1 is relevance alone, 0 diversity alone.",
    )
    rerank: bool | None = Field(
        None, description="Judge the best passages again by the configured reranker; without it where that fails."
    )
    expand: int | None = Field(
        None, ge=0, le=5, description="How many neighbours of the same section, on either side, a passage takes in."
    )

    def wishes(self) -> RetrievalWishes:
        """The same in the domain's terms.

        Raises:
            RequestValidationError: the filter can't be used; names the part of it.
        """
        return RetrievalWishes(
            strategy=self.strategy,
            top_k=self.top_k,
            fusion=self.fusion,
            weights=None if self.weights is None else Weights(self.weights.dense, self.weights.sparse),
            filters=None if self.filters is None else _filter(self.filters),
            threshold=self.threshold,
            min_similarity=self.min_similarity,
            mmr_lambda=self.mmr_lambda,
            rerank=self.rerank,
            expand=self.expand,
        )


def _filter(given: dict[str, Any]) -> Filter:
    try:
        return parse_filter(given)
    except FilterError as error:
        where = ("body", "filters", *error.path)
        raise RequestValidationError([{"type": "value_error", "loc": where, "msg": error.message}]) from None
