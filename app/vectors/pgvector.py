"""The vector index in Postgres itself: pgvector for meaning, postings with BM25 weights for words.

Tables of its own, made by ``prepare`` and named for the embedding model, since they can be rebuilt from the documents
like any other index. Small collections are searched exactly, large ones by HNSW (Malkov and Yashunin 2018) with
pgvector's iterative scan, which goes on until enough points have passed tenant, collection and filter; where it can't
find enough, exactly again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from copy import copy
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import TextClause, text
from sqlalchemy.exc import ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession

from app.db.session import Database
from app.errors import ConfigurationError
from app.providers.protocols import EmbeddingIdentity
from app.vectors import pgvector_sql as sql
from app.vectors.filters import Filter
from app.vectors.pgvector_filters import Condition
from app.vectors.protocols import Hit, Point, Scope, SparseVector, Vector, VectorIndex

# Up to here an exact scan takes some ms, and finds what a graph may miss.
EXACT_POINTS = 10_000
MIN_EF_SEARCH, MAX_EF_SEARCH = 100, 1000
# Iterative scans came with this version; without them a filtered search by HNSW finds too little.
MIN_VERSION = (0, 8)
# Any number will do as long as nothing else on this database uses it: it spells "ancv".
ADVISORY_LOCK = 0x616E6376
_NO_FILTER = "true"


class PgvectorIndex:
    """One set of tables for all tenants; their names carry the index's name and the embedding model."""

    def __init__(self, database: Database, name: str, identity: EmbeddingIdentity) -> None:
        self._database = database
        self._identity = identity
        self._prefix = f"vectors_{hashlib.sha256(f'{name} {identity}'.encode()).hexdigest()[:8]}"

    async def prepare(self) -> None:
        """Make the extension, the tables and their indexes when absent.

        Raises:
            ConfigurationError: pgvector is not installed, too old, or may not be switched on by this user.
        """
        async with self._database.session() as session:
            await session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            await _make_extension(session)
            await self._make_tables(session)

    async def _make_tables(self, session: AsyncSession) -> None:
        for statement in sql.SCHEMA.format(p=self._prefix, dimension=self._identity.dimension).split(";"):
            await session.execute(text(statement))

    async def upsert(self, points: Sequence[Point]) -> None:
        """Write points and their postings, in one transaction."""
        # In one order everywhere: two workers that write the same points wait for each other, and don't lock up.
        each = sorted({point.chunk_id: point for point in points}.values(), key=lambda point: point.chunk_id)
        if not each:
            return
        async with self._database.session() as session:
            scopes = {
                scope: await self._scope(session, Scope(*scope))
                for scope in sorted({(point.tenant_id, point.collection_id) for point in each})
            }
            numbers = [scopes[point.tenant_id, point.collection_id] for point in each]
            rows = await session.execute(
                self._sql(sql.UPSERT),
                {
                    "chunks": [point.chunk_id for point in each],
                    "scopes": numbers,
                    "documents": [point.document_id for point in each],
                    "versions": [point.version_id for point in each],
                    "embeddings": [_written(point.dense) for point in each],
                    "fields": [json.dumps(point.fields()) for point in each],
                },
            )
            ids: dict[UUID, int] = {row.chunk_id: row.id for row in rows}
            await session.execute(
                self._sql("DELETE FROM {p}_postings WHERE point = ANY (:ids)"), {"ids": list(ids.values())}
            )
            sizes = [len(point.sparse.indices) for point in each]
            await session.execute(
                self._sql(sql.POSTINGS),
                {
                    "scopes": np.repeat(numbers, sizes).tolist(),
                    "terms": [term for point in each for term in point.sparse.indices],
                    "points": np.repeat([ids[point.chunk_id] for point in each], sizes).tolist(),
                    "weights": [weight for point in each for weight in point.sparse.values],
                },
            )

    async def _scope(self, session: AsyncSession, scope: Scope) -> int:
        given = {"tenant": scope.tenant_id, "collection": scope.collection_id}
        await session.execute(self._sql(sql.NEW_SCOPE), given)
        number: int = (await session.execute(self._sql(sql.SCOPE), given)).scalar_one()
        return number

    async def delete_version(self, version_id: UUID) -> None:
        """Remove a version's points."""
        await self._delete("version_id = :value", version_id)

    async def delete_document(self, document_id: UUID) -> None:
        """Remove a document's points."""
        await self._delete("document_id = :value", document_id)

    async def _delete(self, where: str, value: UUID) -> None:
        async with self._database.session() as session:
            await session.execute(self._sql("DELETE FROM {p}_points WHERE {where}", where), {"value": value})

    async def delete_points(self, chunk_ids: Sequence[UUID]) -> None:
        """Remove single points."""
        async with self._database.session() as session:
            statement = self._sql("DELETE FROM {p}_points WHERE chunk_id = ANY (:ids)")
            await session.execute(statement, {"ids": list(chunk_ids)})

    async def present(self, chunk_ids: Collection[UUID]) -> set[UUID]:
        """Which of them have a point."""
        statement = self._sql("SELECT chunk_id FROM {p}_points WHERE chunk_id = ANY (:ids)")
        async with self._database.session(reading=True) as session:
            return set(await session.scalars(statement, {"ids": list(chunk_ids)}))

    async def page(self, after: UUID | None, limit: int) -> list[UUID]:
        """Chunk ids in order."""
        statement = self._sql("SELECT chunk_id FROM {p}_points WHERE chunk_id > :after ORDER BY chunk_id LIMIT :limit")
        async with self._database.session(reading=True) as session:
            return list(await session.scalars(statement, {"after": after or UUID(int=0), "limit": limit}))

    async def generation(self) -> PgvectorIndex:
        """Tables of the same shape under other names, empty."""
        made = copy(self)
        made._prefix = f"{self._prefix}_next"
        async with self._database.session() as session:
            for table in sql.TABLES:
                await session.execute(text(f"DROP TABLE IF EXISTS {made._prefix}_{table} CASCADE"))
            await made._make_tables(session)
        return made

    async def serve(self, generation: VectorIndex) -> None:
        """Drop the tables and give their names to the generation's, in one transaction."""
        if not isinstance(generation, PgvectorIndex):
            raise TypeError("a generation of another engine")
        async with self._database.session() as session:
            for table in sql.TABLES:
                await session.execute(text(f"DROP TABLE {self._prefix}_{table} CASCADE"))
            for kind, names in (("TABLE", sql.TABLES), ("INDEX", sql.INDEXES)):
                for name in names:
                    former = f"{generation._prefix}_{name}"
                    await session.execute(text(f"ALTER {kind} {former} RENAME TO {self._prefix}_{name}"))

    async def count(self, *, document_id: UUID | None = None, version_id: UUID | None = None) -> int:
        """Exact number of points."""
        given = {"document_id": document_id, "version_id": version_id}
        wanted = {column: value for column, value in given.items() if value is not None}
        where = " AND ".join(["true", *(f"{column} = :{column}" for column in wanted)])
        async with self._database.session(reading=True) as session:
            found = await session.execute(self._sql("SELECT count(*) FROM {p}_points WHERE {where}", where), wanted)
            return int(found.scalar_one())

    async def search(
        self,
        scope: Scope,
        dense: Vector | None,
        sparse: SparseVector | None,
        limit: int,
        wanted: Filter | None = None,
    ) -> tuple[list[Hit], list[Hit]]:
        """Best hits by meaning and by words, in one transaction."""
        condition = None if wanted is None else Condition(wanted)
        where = _NO_FILTER if condition is None else condition.sql
        given = {"limit": limit} | ({} if condition is None else condition.parameters)
        by_meaning: list[Hit] = []
        by_words: list[Hit] = []
        async with self._database.session(reading=True) as session:
            wall = {"tenant": scope.tenant_id, "collection": scope.collection_id}
            found = (await session.execute(self._sql(sql.SIZE), wall)).one_or_none()
            if found is None:
                return [], []
            given |= {"scope": found.id}
            if dense is not None:
                asked = given | {"question": _written(dense)}
                if found.size > EXACT_POINTS:
                    await self._tune(session, limit)
                    by_meaning = _hits(await session.execute(self._sql(sql.NEAREST, where), asked))
                # A graph may not reach all that match: those that are few, or beside a crowd of near copies.
                if len(by_meaning) < min(limit, found.size):
                    by_meaning = _hits(await session.execute(self._sql(sql.EXACT, where), asked))
            if sparse is not None and sparse.indices:
                terms = {"terms": sparse.indices, "term_weights": sparse.values, "size": found.size}
                by_words = _hits(await session.execute(self._sql(sql.WORDS, where), given | terms))
        return by_meaning, by_words

    async def _tune(self, session: AsyncSession, limit: int) -> None:
        await session.execute(
            text(
                "SELECT set_config('hnsw.iterative_scan', 'strict_order', true), "
                "set_config('hnsw.ef_search', :ef, true)"
            ),
            {"ef": str(min(MAX_EF_SEARCH, max(MIN_EF_SEARCH, limit)))},
        )

    async def vectors(self, chunk_ids: Sequence[UUID]) -> dict[UUID, Vector]:
        """The dense vectors of these chunks."""
        statement = self._sql(
            "SELECT chunk_id, CAST(embedding AS real[]) AS v FROM {p}_points WHERE chunk_id = ANY (:ids)"
        )
        async with self._database.session(reading=True) as session:
            rows = await session.execute(statement, {"ids": list(chunk_ids)})
            return {row.chunk_id: np.asarray(row.v, np.float32) for row in rows}

    async def check(self) -> None:
        """Return when the database answers and the tables are there."""
        async with self._database.session(reading=True) as session:
            await session.execute(self._sql("SELECT 1 FROM {p}_points LIMIT 1"))

    async def close(self) -> None:
        """The connections are the database's."""

    def _sql(self, statement: str, where: str = _NO_FILTER) -> TextClause:
        return text(statement.format(p=self._prefix, where=where))


async def _make_extension(session: AsyncSession) -> None:
    version = await session.scalar(text("SELECT extversion FROM pg_extension WHERE extname = 'vector'"))
    if version is None:
        version = await session.scalar(
            text("SELECT default_version FROM pg_available_extensions WHERE name = 'vector'")
        )
        if version is None:
            raise ConfigurationError(
                "This Postgres has no pgvector. Install its package (postgresql-17-pgvector on Debian 13; the role "
                "postgres does with postgres_pgvector: true), or set VECTOR_STORE_TYPE=qdrant."
            )
        try:
            await session.execute(text("CREATE EXTENSION vector"))
        except ProgrammingError as error:
            raise ConfigurationError(
                "This user may not switch pgvector on. As Postgres's superuser, in this database: CREATE EXTENSION "
                "vector; (the role postgres does it with postgres_pgvector: true)."
            ) from error
    if tuple(map(int, version.split(".")[:2])) < MIN_VERSION:
        raise ConfigurationError(
            f"pgvector {version} is too old; {'.'.join(map(str, MIN_VERSION))} or newer is needed."
        )


def _written(vector: Vector) -> str:
    return f"[{','.join(map(repr, vector.tolist()))}]"


def _hits(rows: Any) -> list[Hit]:
    return [Hit(row.chunk_id, float(row.score)) for row in rows]
