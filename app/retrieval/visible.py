"""The database decides: which proposed chunks are visible and match, and what stands beside them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Select, and_, or_, select

from app.db.models import Chunk, Document, DocumentVersion
from app.db.session import Database
from app.retrieval.candidates import Row
from app.vectors.filters import Filter, fields_of, matches
from app.vectors.protocols import Scope


async def read_visible(
    database: Database, scope: Scope, proposed: Collection[UUID], wanted: Filter | None
) -> dict[UUID, Row]:
    """Of the proposed chunks those of current versions in this tenant's collection that match the filter."""
    if not proposed:
        return {}
    query = _columns(scope).where(Chunk.id.in_(proposed))
    if wanted is not None:
        query = query.add_columns(DocumentVersion.attributes)
    async with database.session(reading=True) as session:
        rows = (await session.execute(query)).all()
    return {row.id: _row(row) for row in rows if wanted is None or matches(wanted, _fields(row))}


async def read_neighbours(database: Database, scope: Scope, hits: Sequence[Row], reach: int) -> dict[UUID, list[Row]]:
    """For each hit the run of chunks around it, itself among them, in the document's order.

    At most ``reach`` on either side, of the same version, and as far as they stand under the same headings.
    """
    if not hits:
        return {}
    around = [
        and_(Chunk.version_id == hit.version_id, Chunk.position.between(hit.position - reach, hit.position + reach))
        for hit in hits
    ]
    async with database.session(reading=True) as session:
        rows = (await session.execute(_columns(scope).where(or_(*around)))).all()
    at = {(row.version_id, row.position): _row(row) for row in rows}
    return {hit.chunk_id: _run(hit, at, reach) for hit in hits}


def _run(hit: Row, at: dict[tuple[UUID, int], Row], reach: int) -> list[Row]:
    run = [hit]
    for step in (-1, 1):
        for distance in range(1, reach + 1):
            neighbour = at.get((hit.version_id, hit.position + step * distance))
            if neighbour is None or neighbour.heading_path != hit.heading_path:
                break
            run.append(neighbour)
    return sorted(run, key=lambda row: row.position)


def _columns(scope: Scope) -> Select[*tuple[Any, ...]]:
    # Columns, not objects: most of what is read only decides what is visible.
    return (
        select(
            Chunk.id,
            Chunk.document_id,
            Chunk.version_id,
            Chunk.position,
            Document.title,
            Document.source,
            Chunk.text,
            Chunk.heading_path,
            Chunk.page,
            DocumentVersion.media_type,
        )
        .join(Document, Document.current_version_id == Chunk.version_id)
        .join(DocumentVersion, DocumentVersion.id == Chunk.version_id)
        .where(Document.tenant_id == scope.tenant_id, Document.collection_id == scope.collection_id)
    )


def _row(row: Any) -> Row:
    return Row(
        row.id,
        row.document_id,
        row.version_id,
        row.position,
        row.title,
        row.source,
        row.text,
        tuple(row.heading_path),
        row.page,
        row.media_type,
    )


def _fields(row: Any) -> dict[str, Any]:
    return fields_of(
        document_id=str(row.document_id),
        source=row.source,
        title=row.title,
        media_type=row.media_type,
        attributes=row.attributes,
    )
