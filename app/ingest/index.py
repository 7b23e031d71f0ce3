"""From accepted bytes to visible chunks: parse, chunk, embed, write points, and one transaction that shows them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from itertools import islice

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import undefer

from app.db.models import Chunk, Collection, Document, DocumentVersion, JobKind, VersionState
from app.db.session import Database
from app.errors import DependencyUnavailableError, DocumentError, ErrorCode
from app.ingest.chunk import ChunkText, chunk, chunk_id, embedding_text
from app.ingest.jobs import Claim, Clock, Queue, enqueue, finish, hold, utc_now
from app.ingest.media import charset_of
from app.ingest.parse import Parsed
from app.ingest.sandbox import parse_limited
from app.providers.protocols import Embedder
from app.vectors.bm25 import Bm25Encoder
from app.vectors.protocols import Point, VectorIndex

BATCH = 64


class Indexer:
    """Does the two kinds of jobs. Each may be killed at any point and done again: the outcome is the same."""

    def __init__(
        self,
        database: Database,
        index: VectorIndex,
        embedder: Embedder,
        sparse: Bm25Encoder,
        queue: Queue,
        clock: Clock = utc_now,
    ) -> None:
        self._database = database
        self._index = index
        self._embedder = embedder
        self._sparse = sparse
        self._queue = queue
        self._clock = clock

    async def index(self, claim: Claim) -> None:
        """Make a version answerable; its points are written before, and only then is it shown."""
        version = await self._load(claim)
        if version is not None:
            await self._queue.stage(claim, "parse")
            essence, charset = version.media_type.split(";")[0], charset_of(version.media_type)
            parsed = await parse_limited(version.content, essence, charset)
            await self._queue.stage(claim, "index")
            # In a thread: tokenising some MB takes seconds, in which embedded mode must answer questions.
            chunks = await asyncio.to_thread(chunk, parsed.blocks, self._embedder.token_offsets)
            if not chunks:
                raise DocumentError(ErrorCode.DOCUMENT_EMPTY, "The document holds no readable characters.")
            title = await self._title(version, parsed)
            await self._write_points(version, title, chunks)
            if await self._show(claim, version, title, chunks):
                return
        # The document was deleted meanwhile: what this job may have written must go too.
        await self.remove(claim)

    async def remove(self, claim: Claim) -> None:
        """Take out the points of what is gone, and prove that none is left."""
        if claim.version_id is not None and claim.kind is JobKind.REMOVE:
            await self._index.delete_version(claim.version_id)
            left = await self._index.count(version_id=claim.version_id)
        else:
            await self._index.delete_document(claim.document_id)
            left = await self._index.count(document_id=claim.document_id)
        if left:
            raise DependencyUnavailableError("qdrant", f"{left} points are still there after their removal.")
        async with self._database.session() as session:
            finish(await hold(session, claim), self._clock())

    async def _load(self, claim: Claim) -> DocumentVersion | None:
        async with self._database.session(reading=True) as session:
            return await session.scalar(
                select(DocumentVersion)
                .options(undefer(DocumentVersion.content))
                .where(DocumentVersion.id == claim.version_id)
            )

    async def _title(self, version: DocumentVersion, parsed: Parsed) -> str:
        """The owner's title where one was given; else the document's own."""
        async with self._database.session(reading=True) as session:
            document = await session.get(Document, version.document_id)
        if document is None or document.title != document.source[:500]:
            return document.title if document is not None else ""
        return (parsed.title or document.title)[:500]

    async def _write_points(self, version: DocumentVersion, title: str, chunks: Sequence[ChunkText]) -> None:
        for batch in _batches(chunks, BATCH):
            texts = [embedding_text(title, item, self._embedder.token_offsets) for item in batch]
            vectors = await self._embedder.embed_documents(texts)
            await self._index.upsert(
                [
                    Point(
                        chunk_id(version.id, item.position),
                        version.tenant_id,
                        version.collection_id,
                        version.document_id,
                        version.id,
                        vector,
                        self._sparse.document(text),
                        version.attributes,
                    )
                    for item, text, vector in zip(batch, texts, vectors, strict=True)
                ]
            )

    async def _show(self, claim: Claim, version: DocumentVersion, title: str, chunks: Sequence[ChunkText]) -> bool:
        """In one transaction: the chunks, the switch to this version, the epoch, the end of the job.

        Returns False, with nothing changed, when the document is gone.
        """
        now = self._clock()
        async with self._database.session() as session:
            job = await hold(session, claim)
            document = await session.get(Document, version.document_id, with_for_update=True)
            if document is None:
                return False
            stored = await session.get_one(DocumentVersion, version.id)
            await session.execute(delete(Chunk).where(Chunk.version_id == version.id))
            stored.chunk_count, stored.ready_at = len(chunks), now
            if await _is_older(session, document, stored):
                stored.state = VersionState.SUPERSEDED
                enqueue(session, JobKind.REMOVE, stored.tenant_id, document.id, stored.id, now)
            else:
                session.add_all(_rows(stored, chunks))
                await self._switch(session, document, stored, title)
            finish(job, now)
        return True

    async def _switch(self, session: AsyncSession, document: Document, version: DocumentVersion, title: str) -> None:
        now = self._clock()
        previous = document.current_version_id
        if previous is not None and previous != version.id:
            old = await session.get_one(DocumentVersion, previous)
            old.state = VersionState.SUPERSEDED
            await session.execute(delete(Chunk).where(Chunk.version_id == previous))
            enqueue(session, JobKind.REMOVE, document.tenant_id, document.id, previous, now)
        document.current_version_id, document.updated_at, document.title = version.id, now, title
        version.state, version.error_code, version.error_detail = VersionState.READY, None, None
        collection = await session.get_one(Collection, document.collection_id, with_for_update=True)
        collection.epoch += 1


async def _is_older(session: AsyncSession, document: Document, version: DocumentVersion) -> bool:
    if document.current_version_id is None:
        return False
    current: DocumentVersion = await session.get_one(DocumentVersion, document.current_version_id)
    return current.number > version.number


def _rows(version: DocumentVersion, chunks: Sequence[ChunkText]) -> list[Chunk]:
    return [
        Chunk(
            id=chunk_id(version.id, item.position),
            tenant_id=version.tenant_id,
            document_id=version.document_id,
            version_id=version.id,
            position=item.position,
            text=item.text,
            heading_path=list(item.heading_path),
            page=item.page,
            token_count=item.token_count,
        )
        for item in chunks
    ]


def _batches(items: Sequence[ChunkText], size: int) -> Iterator[list[ChunkText]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
