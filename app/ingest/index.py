"""From accepted bytes to visible chunks: the stages, then one transaction that shows what they made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from sqlalchemy import delete, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.models import Chunk, Collection, Document, DocumentVersion, JobKind, VersionState
from app.db.session import Database
from app.errors import DependencyUnavailableError
from app.ingest.jobs import Claim, Clock, advance, enqueue, finish, hold, utc_now
from app.ingest.stages import Stages, VersionGoneError
from app.telemetry.metrics import Metrics
from app.telemetry.traces import span
from app.vectors.protocols import VectorIndex

WRITINGS = 3


class Indexer:
    """Does the two kinds of jobs. Each may be killed at any point and done again: the outcome is the same."""

    def __init__(
        self,
        database: Database,
        index: VectorIndex,
        stages: Stages,
        clock: Clock = utc_now,
        *,
        metrics: Metrics | None = None,
    ) -> None:
        self._database = database
        self._metrics = metrics or Metrics("unwatched", enabled=False)
        self._index = index
        self._stages = stages
        self._clock = clock

    async def index(self, claim: Claim) -> None:
        """Make a version answerable; its points are written before, and only then is it shown."""
        try:
            with self._step("parse"):
                await self._stages.parse(claim)
            with self._step("chunk"):
                await self._stages.chunk(claim)
            with self._step("embed"):
                await self._stages.embed(claim)
            for turn in range(WRITINGS):
                with self._step("write"):
                    # Again where points were lost meanwhile: by a power cut, or with their index.
                    await self._stages.write(claim, again=turn > 0)
                with self._step("show"):
                    if await self._show(claim):
                        return
        except VersionGoneError:
            # What this job may have written must go too.
            await self.remove(claim)
            return
        raise DependencyUnavailableError("qdrant", "The index has not all points that were written to it.")

    async def remove(self, claim: Claim) -> None:
        """Take out the points of what is gone, and prove that none is left."""
        with self._step("remove"):
            await self._remove(claim)

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        start = perf_counter()
        with span(name):
            yield
        # Of what was done: a step that failed would say little of how long it takes.
        self._metrics.ingestion_step_seconds.labels(name).observe(perf_counter() - start)

    async def _remove(self, claim: Claim) -> None:
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

    async def _show(self, claim: Claim) -> bool:
        """In one transaction: the switch to this version, the epoch, the end of the job.

        Returns False, with nothing changed, when the index lacks points. Raises VersionGoneError.
        """
        now = self._clock()
        async with self._database.session() as session:
            job = await hold(session, claim)
            # Held to the end, so that no other index takes this one's place between the count and the commit.
            await self._database.share_index(session)
            document = await session.get(Document, claim.document_id, with_for_update=True)
            version = await session.get(DocumentVersion, claim.version_id)
            if document is None or version is None:
                raise VersionGoneError
            if await self._index.count(version_id=version.id) != version.chunk_count:
                return False
            version.ready_at = now
            if await _is_older(session, document, version):
                version.state = VersionState.SUPERSEDED
                await self._withdraw(session, version)
            else:
                await self._switch(session, document, version)
            advance(job, "index", version.chunk_count, version.chunk_count)
            finish(job, now)
        return True

    async def _switch(self, session: AsyncSession, document: Document, version: DocumentVersion) -> None:
        if document.current_version_id not in (None, version.id):
            old = await session.get_one(DocumentVersion, document.current_version_id)
            old.state = VersionState.SUPERSEDED
            await self._withdraw(session, old)
        document.current_version_id, document.updated_at = version.id, self._clock()
        document.title = version.title or document.title
        version.state, version.error_code, version.error_detail = VersionState.READY, None, None
        collection = await session.get_one(Collection, document.collection_id, with_for_update=True)
        collection.epoch += 1

    async def _withdraw(self, session: AsyncSession, version: DocumentVersion) -> None:
        """Of a version that no answer sees any more, only the record is kept."""
        await session.execute(update(DocumentVersion).where(DocumentVersion.id == version.id).values(content=b""))
        await session.execute(delete(Chunk).where(Chunk.version_id == version.id))
        enqueue(session, JobKind.REMOVE, version.tenant_id, version.document_id, version.id, self._clock())


async def _is_older(session: AsyncSession, document: Document, version: DocumentVersion) -> bool:
    if document.current_version_id is None:
        return False
    current: DocumentVersion = await session.get_one(DocumentVersion, document.current_version_id)
    return current.number > version.number
