"""The index is derived: it is compared with the database and mended, or built anew beside the one that serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import structlog
from sqlalchemy import ColumnElement, func, insert, literal, select, update
from sqlalchemy.orm import undefer

from app.db.models import Chunk, Collection, Document, DocumentVersion, JobKind, VersionState
from app.db.session import Database
from app.ingest.chunk import embedding_text
from app.ingest.jobs import Clock, enqueue, utc_now
from app.ingest.stages import embedding_hash, point_of, stored_vector
from app.providers.protocols import Embedder
from app.vectors.bm25 import Bm25Encoder
from app.vectors.protocols import VectorIndex

log = structlog.get_logger(__name__)
BATCH = 256
# More than the clocks of the hosts may differ.
MARGIN = timedelta(minutes=1)
Progress = Callable[[int, int], None]
Visible = tuple[Chunk, DocumentVersion, str]


@dataclass(frozen=True, slots=True)
class Repair:
    """Points that stood for nothing visible and were removed; visible chunks that had none and got one."""

    removed: int
    added: int


class Reindexer:
    """Keeps the vector index true to the database."""

    def __init__(
        self,
        database: Database,
        index: VectorIndex,
        embedder: Embedder,
        sparse: Bm25Encoder,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._index = index
        self._embedder = embedder
        self._sparse = sparse
        self._clock = clock

    async def repair(self) -> Repair:
        """Compare every point and every visible chunk; safe at any time, beside any number of workers.

        A row is there before its point and goes before it, so that a point without a row is one too many.
        """
        removed = await self._remove_strays()
        added = 0
        after: UUID | None = None
        while batch := await self._visible_after(after):
            after = batch[-1][0].id
            present = await self._index.present([chunk.id for chunk, *_ in batch])
            missing = [visible for visible in batch if visible[0].id not in present]
            if missing:
                await self._write(self._index, missing)
                added += len(missing)
        if added:
            # What was replaced while its points were being written.
            removed += await self._remove_strays()
        if removed or added:
            log.warning("index.repaired", removed=removed, added=added)
        return Repair(removed, added)

    async def rebuild(self, progress: Progress = lambda done, total: None) -> int:
        """Build the whole index anew and put it into the place of the one that serves; returns the points written.

        Answers go on all the time, and so does the work on documents, but for the moment of the change.
        """
        began = self._clock()
        generation = await self._index.generation()
        written = await self._copy(generation, [], progress)
        # What was shown meanwhile: most of it while nobody waits, the rest while nothing else can be shown.
        mark = self._clock()
        written += await self._copy(generation, [DocumentVersion.ready_at >= began - MARGIN])
        async with self._database.session() as session:
            await self._database.own_index(session)
            written += await self._copy(generation, [DocumentVersion.ready_at >= mark - MARGIN])
            await self._index.serve(generation)
            await session.execute(update(Collection).values(embedding=str(self._embedder.identity)))
        await self.repair()
        return written

    async def rechunk(self, collection_id: UUID | None = None) -> int:
        """Have every document (of a collection) cut and embedded anew, as a new version of the same bytes.

        Returns how many were handed to the workers. Each goes on answering until its new version is ready.
        """
        handed = 0
        after: UUID | None = None
        while (document_id := await self._next_document(collection_id, after)) is not None:
            after = document_id
            handed += await self._renew(document_id)
        return handed

    async def _remove_strays(self) -> int:
        removed = 0
        after: UUID | None = None
        while page := await self._index.page(after, BATCH * 4):
            after = page[-1]
            async with self._database.session(reading=True) as session:
                rows = await session.scalars(
                    select(Chunk.id)
                    .join(DocumentVersion, DocumentVersion.id == Chunk.version_id)
                    .where(
                        Chunk.id.in_(page),
                        DocumentVersion.state.in_((VersionState.ACCEPTED, VersionState.READY)),
                    )
                )
                known = set(rows)
            strays = [chunk_id for chunk_id in page if chunk_id not in known]
            if strays:
                await self._index.delete_points(strays)
                removed += len(strays)
        return removed

    async def _copy(
        self,
        target: VectorIndex,
        only: Sequence[ColumnElement[bool]],
        progress: Progress = lambda done, total: None,
    ) -> int:
        async with self._database.session(reading=True) as session:
            total = await session.scalar(_count(only)) or 0
        done = 0
        after: UUID | None = None
        while batch := await self._visible_after(after, only):
            after = batch[-1][0].id
            await self._write(target, batch)
            done += len(batch)
            progress(done, max(done, total))
        return done

    async def _visible_after(self, after: UUID | None, only: Sequence[ColumnElement[bool]] = ()) -> list[Visible]:
        query = (
            select(Chunk, DocumentVersion, Document.source)
            .options(undefer(Chunk.embedding))
            .join(DocumentVersion, DocumentVersion.id == Chunk.version_id)
            .join(Document, Document.current_version_id == Chunk.version_id)
            .where(*only)
            .order_by(Chunk.id)
            .limit(BATCH)
        )
        if after is not None:
            query = query.where(Chunk.id > after)
        async with self._database.session(reading=True) as session:
            return [(chunk, version, source) for chunk, version, source in await session.execute(query)]

    async def _write(self, target: VectorIndex, batch: Sequence[Visible]) -> None:
        await self._embed_anew(batch)
        await target.upsert(
            [point_of(version, source, chunk, self._embedder, self._sparse) for chunk, version, source in batch]
        )

    async def _embed_anew(self, batch: Sequence[Visible]) -> None:
        """Vectors for those that have none of this model's: of another model, or from before they were kept."""
        wanting: list[tuple[Chunk, str, str]] = []
        for chunk, version, _ in batch:
            text = embedding_text(version.title or "", chunk.heading_path, chunk.text, self._embedder.token_offsets)
            digest = embedding_hash(self._embedder.identity, text)
            if chunk.embedding is None or chunk.embedding_hash != digest:
                wanting.append((chunk, text, digest))
        if not wanting:
            return
        made = await self._embedder.embed_documents([text for _, text, _ in wanting])
        rows: list[dict[str, Any]] = []
        for (chunk, _, digest), vector in zip(wanting, made, strict=True):
            chunk.embedding, chunk.embedding_hash = stored_vector(vector), digest
            rows.append({"id": chunk.id, "embedding": chunk.embedding, "embedding_hash": digest})
        async with self._database.session() as session:
            present = set(await session.scalars(select(Chunk.id).where(Chunk.id.in_([row["id"] for row in rows]))))
            if present:
                await session.execute(update(Chunk), [row for row in rows if row["id"] in present])

    async def _next_document(self, collection_id: UUID | None, after: UUID | None) -> UUID | None:
        query = select(Document.id).where(Document.current_version_id.is_not(None)).order_by(Document.id).limit(1)
        if collection_id is not None:
            query = query.where(Document.collection_id == collection_id)
        if after is not None:
            query = query.where(Document.id > after)
        async with self._database.session(reading=True) as session:
            return await session.scalar(query)

    async def _renew(self, document_id: UUID) -> int:
        now = self._clock()
        async with self._database.session() as session:
            document = await session.get(Document, document_id, with_for_update=True)
            if document is None or document.current_version_id is None:
                return 0
            newest = await session.scalar(
                select(func.max(DocumentVersion.number)).where(DocumentVersion.document_id == document_id)
            )
            version_id = uuid4()
            # The bytes stay in the database.
            await session.execute(_same_bytes(version_id, document.current_version_id, (newest or 0) + 1, now))
            enqueue(session, JobKind.INDEX, document.tenant_id, document_id, version_id, now)
        return 1


def _count(only: Sequence[ColumnElement[bool]]) -> Any:
    return (
        select(func.count())
        .select_from(Chunk)
        .join(DocumentVersion, DocumentVersion.id == Chunk.version_id)
        .join(Document, Document.current_version_id == Chunk.version_id)
        .where(*only)
    )


def _same_bytes(version_id: UUID, of: UUID, number: int, now: datetime) -> Any:
    """An INSERT … SELECT of a new version with everything that its owner gave to the former one."""
    given = ("tenant_id", "collection_id", "document_id", "media_type", "content_hash", "content", "size_bytes")
    former = DocumentVersion.__table__.c
    made = {
        "id": literal(version_id, former.id.type),
        "number": literal(number),
        "state": literal(VersionState.ACCEPTED.value),
        "chunk_count": literal(0),
        "created_at": literal(now, former.created_at.type),
        "metadata": former.metadata,
        **{name: former[name] for name in given},
    }
    return insert(DocumentVersion.__table__).from_select(  # type: ignore[arg-type]
        list(made), select(*made.values()).where(former.id == of)
    )
