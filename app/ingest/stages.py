"""The stages of making a version answerable. Each leaves its outcome behind, so that a retry goes on after it.

parse → the blocks, in the version; chunk → rows, not yet visible; embed → their vectors; write → points of the index.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import zlib
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy import Row, Select, delete, func, insert, select, update
from sqlalchemy.orm import undefer

from app.db.collection_settings import CollectionSettings
from app.db.models import Chunk, Collection, Document, DocumentVersion, Job
from app.db.session import Database
from app.errors import DocumentError, ErrorCode, UnsupportedMediaTypeError
from app.ingest.chunk import ChunkText, chunk, chunk_id, embedding_text
from app.ingest.jobs import Claim, advance, hold
from app.ingest.media import IMAGES, charset_of
from app.ingest.parse import Block, Parsed
from app.ingest.parse.blocks import paragraphs, storable
from app.ingest.sandbox import Sandbox
from app.providers.protocols import Embedder, EmbeddingIdentity, ImageDescriber
from app.vectors.bm25 import Bm25Encoder
from app.vectors.protocols import Point, Vector, VectorIndex

BATCH = 64
ROWS = 1000
MAX_TITLE = 500


class VersionGoneError(Exception):
    """The document was deleted while a worker was at it."""


class Stages:
    """What happens to a version until its points are written. ``LeaseLostError`` and ``JobCancelledError`` end any."""

    def __init__(
        self,
        database: Database,
        sandbox: Sandbox,
        index: VectorIndex,
        embedder: Embedder,
        sparse: Bm25Encoder,
        describer: ImageDescriber | None = None,
    ) -> None:
        self._database = database
        self._sandbox = sandbox
        self._index = index
        self._embedder = embedder
        self._sparse = sparse
        self._describer = describer

    async def parse(self, claim: Claim) -> None:
        """Read the document's structure, in a process with limits. Raises DocumentError, VersionGoneError."""
        async with self._database.session(reading=True) as session:
            version = await session.scalar(
                select(DocumentVersion)
                .options(undefer(DocumentVersion.content))
                .where(
                    DocumentVersion.id == claim.version_id,
                    DocumentVersion.chunk_count == 0,
                    DocumentVersion.parsed.is_(None),
                )
            )
        if version is None:
            return
        essence, charset = version.media_type.split(";")[0], charset_of(version.media_type)
        if essence in IMAGES:
            parsed = await self._described(version.content, essence)
        else:
            parsed = await self._sandbox.parse(version.content, essence, charset)
        packed = await asyncio.to_thread(_pack, parsed)
        async with self._database.session() as session:
            job = await hold(session, claim)
            advance(job, "parse", 1, 1)
            advance(job, "chunk", 0, 1)
            await session.execute(
                update(DocumentVersion).where(DocumentVersion.id == claim.version_id).values(parsed=packed)
            )

    async def chunk(self, claim: Claim) -> None:
        """Cut it along its structure. Raises DocumentError when there is nothing to cut, VersionGoneError."""
        version, document, stored = await self._one(
            select(DocumentVersion, Document, Collection.settings)
            .options(undefer(DocumentVersion.parsed))
            .join(Document, Document.id == DocumentVersion.document_id)
            .join(Collection, Collection.id == DocumentVersion.collection_id)
            .where(DocumentVersion.id == claim.version_id)
        )
        if version.chunk_count:
            return
        # In a thread: tokenising some MB takes seconds, in which embedded mode must answer questions.
        title, rows = await asyncio.to_thread(self._cut, version, document, CollectionSettings.read(stored))
        if not rows:
            raise DocumentError(ErrorCode.DOCUMENT_EMPTY, "The document holds no readable characters.")
        async with self._database.session() as session:
            advance(await hold(session, claim), "chunk", len(rows), len(rows))
            if await session.get(DocumentVersion, version.id, with_for_update=True) is None:
                raise VersionGoneError
            await session.execute(delete(Chunk).where(Chunk.version_id == version.id))
            for start in range(0, len(rows), ROWS):
                await session.execute(insert(Chunk), rows[start : start + ROWS])
            await session.execute(
                update(DocumentVersion)
                .where(DocumentVersion.id == version.id)
                .values(title=title, chunk_count=len(rows), parsed=None)
            )

    async def embed(self, claim: Claim) -> None:
        """Give each chunk its vector; a text that this tenant has had embedded before keeps the vector it got."""
        version = await self._version(claim)
        full = True
        while full and (batch := await self._without_vector(version)):
            full = len(batch) == BATCH
            vectors = await self._vectors_of(version, batch)
            async with self._database.session() as session:
                job = await hold(session, claim)
                if await session.get(DocumentVersion, version.id, with_for_update=True) is None:
                    raise VersionGoneError
                await session.execute(update(Chunk), [{"id": row.id, "embedding": vectors[row.id]} for row in batch])
                done = await session.scalar(
                    select(func.count()).where(Chunk.version_id == version.id, Chunk.embedding.is_not(None))
                )
                advance(job, "embed", done or 0, version.chunk_count)

    async def write(self, claim: Claim, *, again: bool = False) -> None:
        """Write the points that are not written yet; ``again`` writes all."""
        version, source, written = await self._unwritten(claim)
        if again:
            written = 0
        while True:
            async with self._database.session(reading=True) as session:
                rows = (
                    await session.scalars(
                        select(Chunk)
                        .options(undefer(Chunk.embedding))
                        .where(Chunk.version_id == version.id, Chunk.position >= written)
                        .order_by(Chunk.position)
                        .limit(BATCH)
                    )
                ).all()
            if rows:
                await self._index.upsert([point_of(version, source, row, self._embedder, self._sparse) for row in rows])
            if len(rows) < BATCH:
                # What shows the version records this batch too.
                return
            written = rows[-1].position + 1
            async with self._database.session() as session:
                advance(await hold(session, claim), "index", written, version.chunk_count)

    async def _described(self, image: bytes, media_type: str) -> Parsed:
        if self._describer is None:
            raise UnsupportedMediaTypeError("Images need a model that sees: set VISION_PROVIDER and VISION_MODEL.")
        completion = await self._describer.describe(image, media_type)
        if not completion.text.strip():
            raise DocumentError(ErrorCode.DOCUMENT_EMPTY, "The model had nothing to say of the image.")
        return Parsed(None, [Block(storable(text)) for text in paragraphs(completion.text)])

    async def _one(self, query: Select[*tuple[Any, ...]]) -> Row[*tuple[Any, ...]]:
        """The row of a version. Raises VersionGoneError."""
        async with self._database.session(reading=True) as session:
            row = (await session.execute(query)).one_or_none()
        if row is None:
            raise VersionGoneError
        return row

    async def _version(self, claim: Claim) -> DocumentVersion:
        row = await self._one(select(DocumentVersion).where(DocumentVersion.id == claim.version_id))
        version: DocumentVersion = row[0]
        return version

    def _cut(
        self, version: DocumentVersion, document: Document, settings: CollectionSettings
    ) -> tuple[str, list[dict[str, Any]]]:
        """The title and the rows of the chunks."""
        parsed = _unpack(version.parsed or b"")
        # The owner's title where one was given; else the document's own.
        given = document.title if document.title != document.source[:MAX_TITLE] else None
        title = (given or parsed.title or document.title)[:MAX_TITLE]
        offsets = self._embedder.token_offsets
        chunks = chunk(parsed.blocks, offsets, settings.chunk_tokens, settings.chunk_overlap_tokens)
        return title, [self._row(version, title, item) for item in chunks]

    def _row(self, version: DocumentVersion, title: str, item: ChunkText) -> dict[str, Any]:
        text = embedding_text(title, item.heading_path, item.text, self._embedder.token_offsets)
        return {
            "id": chunk_id(version.id, item.position),
            "tenant_id": version.tenant_id,
            "document_id": version.document_id,
            "version_id": version.id,
            "position": item.position,
            "text": item.text,
            "heading_path": list(item.heading_path),
            "page": item.page,
            "token_count": item.token_count,
            "embedding_hash": embedding_hash(self._embedder.identity, text),
        }

    async def _without_vector(self, version: DocumentVersion) -> Sequence[Chunk]:
        async with self._database.session(reading=True) as session:
            return (
                await session.scalars(
                    select(Chunk)
                    .where(Chunk.version_id == version.id, Chunk.embedding.is_(None))
                    .order_by(Chunk.position)
                    .limit(BATCH)
                )
            ).all()

    async def _vectors_of(self, version: DocumentVersion, batch: Sequence[Chunk]) -> dict[Any, bytes]:
        """By chunk id: vectors as they are stored, found or made."""
        async with self._database.session(reading=True) as session:
            found = await session.execute(
                select(Chunk.embedding_hash, Chunk.embedding)
                .where(
                    Chunk.tenant_id == version.tenant_id,
                    Chunk.embedding_hash.in_({row.embedding_hash for row in batch}),
                    Chunk.embedding.is_not(None),
                )
                .distinct()
            )
            known = {digest: vector for digest, vector in found if vector is not None}
        texts = {
            row.embedding_hash: embedding_text(
                version.title or "", row.heading_path, row.text, self._embedder.token_offsets
            )
            for row in batch
            if row.embedding_hash not in known
        }
        if texts:
            made = await self._embedder.embed_documents(list(texts.values()))
            known |= {digest: stored_vector(vector) for digest, vector in zip(texts, made, strict=True)}
        return {row.id: known[row.embedding_hash] for row in batch}

    async def _unwritten(self, claim: Claim) -> tuple[DocumentVersion, str, int]:
        """With its source, and how many of its points an attempt before this one has written."""
        version, source, progress = await self._one(
            select(DocumentVersion, Document.source, Job.progress)
            .join(Document, Document.id == DocumentVersion.document_id)
            .join(Job, Job.id == claim.job_id)
            .where(DocumentVersion.id == claim.version_id)
        )
        return version, source, progress.get("index", {}).get("done", 0)


def point_of(version: DocumentVersion, source: str, row: Chunk, embedder: Embedder, sparse: Bm25Encoder) -> Point:
    """A chunk as the index sees it. Its vector must be there."""
    title = version.title or ""
    text = embedding_text(title, row.heading_path, row.text, embedder.token_offsets)
    return Point(
        row.id,
        version.tenant_id,
        version.collection_id,
        version.document_id,
        version.id,
        read_vector(row.embedding or b""),
        sparse.document(text),
        version.attributes,
        source=source,
        title=title,
        media_type=version.media_type,
    )


def embedding_hash(identity: EmbeddingIdentity, text: str) -> str:
    """Equal for equal texts under the same model."""
    return hashlib.sha256(f"{identity}\x00{text}".encode()).hexdigest()


def stored_vector(vector: Vector) -> bytes:
    """Float32, little endian."""
    return vector.astype("<f4").tobytes()


def read_vector(stored: bytes) -> Vector:
    """Shape (dimension,)."""
    return np.frombuffer(stored, dtype="<f4").astype(np.float32, copy=False)


def _pack(parsed: Parsed) -> bytes:
    return zlib.compress(json.dumps(asdict(parsed), ensure_ascii=False).encode("utf-8", "surrogatepass"))


def _unpack(packed: bytes) -> Parsed:
    read = json.loads(zlib.decompress(packed).decode("utf-8", "surrogatepass"))
    blocks = [Block(block["text"], tuple(block["heading_path"]), block["page"]) for block in read["blocks"]]
    return Parsed(read["title"], blocks)
