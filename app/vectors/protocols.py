"""What the service needs of a vector index; ``qdrant.py``, ``edge.py`` and ``pgvector.py`` give it.

The index only *proposes* chunk ids. Whether a chunk is visible, and what its text is, is decided in
the database. One physical index holds all tenants; every search is filtered by tenant and collection.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from app.vectors.filters import Filter, fields_of

Vector = NDArray[np.float32]

# Fields of the payload that engines index.
SCOPE, DOCUMENT, VERSION = "scope", "document_id", "version_id"


@dataclass(frozen=True, slots=True)
class SparseVector:
    """Term ids and weights of BM25; the inverse document frequency is applied by the index."""

    indices: list[int]
    values: list[float]


@dataclass(frozen=True, slots=True)
class Scope:
    """The wall: whose chunks, of which collection."""

    tenant_id: UUID
    collection_id: UUID

    def __str__(self) -> str:
        """As one value of one field: the engines test one condition a point in a third of the time of two."""
        return f"{self.tenant_id}/{self.collection_id}"


@dataclass(frozen=True, slots=True)
class Point:
    """One chunk as the index sees it. ``dense`` has shape (dimension,) and unit length.

    ``attributes`` is the metadata of the document's version; filters look at it, and at the three fields below it.
    """

    chunk_id: UUID
    tenant_id: UUID
    collection_id: UUID
    document_id: UUID
    version_id: UUID
    dense: Vector
    sparse: SparseVector
    attributes: Mapping[str, Any] = field(default_factory=dict)
    source: str = field(kw_only=True)
    title: str = field(kw_only=True)
    media_type: str = field(kw_only=True)

    @property
    def scope(self) -> Scope:
        """Where a search must look to find it."""
        return Scope(self.tenant_id, self.collection_id)

    def payload(self) -> dict[str, Any]:
        """What an engine that keeps JSON keeps beside the vectors."""
        return {SCOPE: str(self.scope), VERSION: str(self.version_id), **self.fields()}

    def fields(self) -> dict[str, Any]:
        """What filters look at."""
        return fields_of(
            document_id=str(self.document_id),
            source=self.source,
            title=self.title,
            media_type=self.media_type,
            attributes=self.attributes,
        )


@dataclass(frozen=True, slots=True)
class Hit:
    """A proposed chunk and its score: cosine for a dense search, BM25 for a sparse one."""

    chunk_id: UUID
    score: float


class VectorIndex(Protocol):
    """Points of one embedding model: an index of another model's is another one, which it never touches.

    Raises ``DependencyUnavailableError`` (dependency ``qdrant`` or ``postgres``) when the engine does not answer.
    """

    async def prepare(self) -> None:
        """Create what is missing (idempotent); refuse an index of another dimension."""
        ...

    async def upsert(self, points: Sequence[Point]) -> None:
        """Write points; the same chunk id again replaces."""
        ...

    async def delete_version(self, version_id: UUID) -> None:
        """Remove all points of one document version."""
        ...

    async def delete_document(self, document_id: UUID) -> None:
        """Remove all points of a document, whatever the version."""
        ...

    async def count(self, *, document_id: UUID | None = None, version_id: UUID | None = None) -> int:
        """Exact number of points, of all or of one document or version."""
        ...

    async def delete_points(self, chunk_ids: Sequence[UUID]) -> None:
        """Remove single points; those that are not there are no error."""
        ...

    async def present(self, chunk_ids: Collection[UUID]) -> set[UUID]:
        """Which of them have a point."""
        ...

    async def page(self, after: UUID | None, limit: int) -> list[UUID]:
        """Up to ``limit`` chunk ids in the engine's own order, behind ``after``; empty at the end."""
        ...

    async def generation(self) -> VectorIndex:
        """A new, empty index beside this one, which nothing searches yet. One that was left half-built is cleared."""
        ...

    async def serve(self, generation: VectorIndex) -> None:
        """In one step: from now on ``generation`` is what is written and searched; the former one is removed."""
        ...

    async def search(
        self,
        scope: Scope,
        dense: Vector | None,
        sparse: SparseVector | None,
        limit: int,
        wanted: Filter | None = None,
    ) -> tuple[list[Hit], list[Hit]]:
        """Best hits by meaning and by words that match the filter, in one round trip; a side not asked is empty."""
        ...

    async def vectors(self, chunk_ids: Sequence[UUID]) -> dict[UUID, Vector]:
        """The dense vectors of these chunks, shape (dimension,) and unit length; what is gone is left out."""
        ...

    async def check(self) -> None:
        """Return when the engine answers; raise otherwise."""
        ...

    async def close(self) -> None:
        """Flush and let go."""
        ...
