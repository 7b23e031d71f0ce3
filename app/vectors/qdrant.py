"""The vector index of server mode: a Qdrant server, by its REST API."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from copy import copy
from pathlib import Path
from uuid import UUID

import httpx
import numpy as np
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from app.errors import DependencyUnavailableError
from app.providers.protocols import EmbeddingIdentity
from app.vectors.filters import Filter
from app.vectors.protocols import DOCUMENT, SCOPE, VERSION, Hit, Point, Scope, SparseVector, Vector, VectorIndex
from app.vectors.qdrant_filters import condition
from app.vectors.qdrant_restart import RestartPatience


class QdrantIndex:
    """One collection for all tenants, behind an alias; both names carry the embedding model.

    ``anchorage-1a2b3c4d`` is the alias, ``anchorage-1a2b3c4d-a`` or ``-b`` the collection: a rebuilt index is the
    other one of the two, until the alias is moved to it.
    """

    def __init__(
        self,
        url: str,
        name: str,
        identity: EmbeddingIdentity,
        api_key: str | None = None,
        timeout_s: float = 10.0,
        ca_file: Path | None = None,
        patience_s: float = 0.0,
    ) -> None:
        """``patience_s`` is how long requests wait for a server that restarts."""
        self._client = AsyncQdrantClient(
            url=url,
            api_key=api_key,
            timeout=max(1, round(timeout_s)),
            prefer_grpc=False,
            check_compatibility=False,
            # Without a file of its own: what the system trusts.
            verify=ssl.create_default_context(cafile=ca_file),
        )
        self._client.http.client.add_middleware(RestartPatience(patience_s))
        self._identity = identity
        self.alias = f"{name}-{identity.fingerprint}"
        # What is written to and read from: the alias, but for a generation its own collection.
        self._target = self.alias

    async def prepare(self) -> None:
        """Make the collection, its payload indexes and the alias when absent."""
        async with _translated():
            if await self._serving() is None:
                # The alias comes last: without it, an earlier start may have been killed at any point before.
                collection = f"{self.alias}-a"
                await self._create(collection)
                await self._point_alias_to(collection)

    async def _serving(self) -> str | None:
        """The collection behind the alias."""
        aliases = (await self._client.get_aliases()).aliases
        return next((found.collection_name for found in aliases if found.alias_name == self.alias), None)

    async def _point_alias_to(self, collection: str) -> None:
        # Making an alias that exists moves it, in one step.
        action = models.CreateAlias(collection_name=collection, alias_name=self.alias)
        await self._client.update_collection_aliases([models.CreateAliasOperation(create_alias=action)])

    async def _create(self, collection: str) -> None:
        """Make whatever is missing; what is there already stays."""
        try:
            await self._client.create_collection(
                collection,
                vectors_config={
                    "dense": models.VectorParams(size=self._identity.dimension, distance=models.Distance.COSINE)
                },
                sparse_vectors_config={"sparse": models.SparseVectorParams(modifier=models.Modifier.IDF)},
            )
        except UnexpectedResponse as error:
            if error.status_code != 409:  # another process made it in the meantime
                raise
        for field in (SCOPE, DOCUMENT, VERSION):
            schema = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=field == SCOPE)
            await self._client.create_payload_index(collection, field, schema, wait=True)

    async def generation(self) -> QdrantIndex:
        """The other collection of the two, empty."""
        async with _translated():
            collection = f"{self.alias}-b" if await self._serving() == f"{self.alias}-a" else f"{self.alias}-a"
            await self._client.delete_collection(collection)
            await self._create(collection)
        made = copy(self)
        made._target = collection
        return made

    async def serve(self, generation: VectorIndex) -> None:
        """Move the alias."""
        if not isinstance(generation, QdrantIndex):
            raise TypeError("a generation of another engine")
        async with _translated():
            former = await self._serving()
            await self._point_alias_to(generation._target)
            if former is not None and former != generation._target:
                await self._client.delete_collection(former)

    async def delete_points(self, chunk_ids: Sequence[UUID]) -> None:
        """Remove single points."""
        async with _translated():
            selector = models.PointIdsList(points=[str(chunk_id) for chunk_id in chunk_ids])
            await self._client.delete(self._target, selector, wait=True)

    async def present(self, chunk_ids: Collection[UUID]) -> set[UUID]:
        """Which of them have a point."""
        async with _translated():
            found = await self._client.retrieve(
                self._target, [str(chunk_id) for chunk_id in chunk_ids], with_payload=False, with_vectors=False
            )
        return {UUID(str(point.id)) for point in found}

    async def page(self, after: UUID | None, limit: int) -> list[UUID]:
        """Chunk ids in order."""
        offset = None if after is None else str(after)
        async with _translated():
            found, _ = await self._client.scroll(
                self._target, limit=limit + 1, offset=offset, with_payload=False, with_vectors=False
            )
        # The server's offset is the first one of the page.
        return [chunk_id for chunk_id in (UUID(str(point.id)) for point in found) if chunk_id != after][:limit]

    async def upsert(self, points: Sequence[Point]) -> None:
        """Write points and wait until they are searchable."""
        structs = [
            models.PointStruct(
                id=str(point.chunk_id),
                vector={
                    "dense": point.dense.tolist(),
                    "sparse": models.SparseVector(indices=point.sparse.indices, values=point.sparse.values),
                },
                payload=point.payload(),
            )
            for point in points
        ]
        async with _translated():
            await self._client.upsert(self._target, structs, wait=True)

    async def delete_version(self, version_id: UUID) -> None:
        """Remove a version's points."""
        await self._delete({VERSION: version_id})

    async def delete_document(self, document_id: UUID) -> None:
        """Remove a document's points."""
        await self._delete({DOCUMENT: document_id})

    async def _delete(self, conditions: dict[str, UUID]) -> None:
        async with _translated():
            selector = models.FilterSelector(filter=_matching(conditions))
            await self._client.delete(self._target, selector, wait=True)

    async def count(self, *, document_id: UUID | None = None, version_id: UUID | None = None) -> int:
        """Exact number of points."""
        wanted = {DOCUMENT: document_id, VERSION: version_id}
        conditions = {field: value for field, value in wanted.items() if value is not None}
        async with _translated():
            found = await self._client.count(
                self._target, count_filter=_matching(conditions) if conditions else None, exact=True
            )
        return found.count

    async def search(
        self,
        scope: Scope,
        dense: Vector | None,
        sparse: SparseVector | None,
        limit: int,
        wanted: Filter | None = None,
    ) -> tuple[list[Hit], list[Hit]]:
        """Best hits by meaning and by words, in one request."""
        wall = _matching({SCOPE: scope})
        if wanted is not None:
            wall = models.Filter(must=[wall, condition(wanted)])
        sides: list[str] = []
        requests: list[models.QueryRequest] = []
        if dense is not None:
            sides.append("dense")
            requests.append(models.QueryRequest(query=dense.tolist(), using="dense", filter=wall, limit=limit))
        if sparse is not None and sparse.indices:
            sides.append("sparse")
            vector = models.SparseVector(indices=sparse.indices, values=sparse.values)
            requests.append(models.QueryRequest(query=vector, using="sparse", filter=wall, limit=limit))
        if not requests:
            return [], []
        async with _translated():
            answers = await self._client.query_batch_points(self._target, requests)
        found = {
            side: [Hit(UUID(str(point.id)), point.score) for point in answer.points]
            for side, answer in zip(sides, answers, strict=True)
        }
        return found.get("dense", []), found.get("sparse", [])

    async def vectors(self, chunk_ids: Sequence[UUID]) -> dict[UUID, Vector]:
        """The dense vectors of these chunks."""
        async with _translated():
            found = await self._client.retrieve(
                self._target, [str(chunk_id) for chunk_id in chunk_ids], with_payload=False, with_vectors=["dense"]
            )
        return {
            UUID(str(record.id)): np.asarray(record.vector["dense"], np.float32)
            for record in found
            if isinstance(record.vector, dict)
        }

    async def check(self) -> None:
        """Return when the server answers and knows the alias."""
        async with _translated():
            await self._client.get_collection(self._target)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    try:
        yield
    except UnexpectedResponse as error:
        raise DependencyUnavailableError(
            "qdrant", f"Qdrant refused a request with status {error.status_code}."
        ) from error
    except (ApiException, ResponseHandlingException, httpx.HTTPError) as error:
        raise DependencyUnavailableError("qdrant", "Qdrant does not answer. Try again shortly.") from error


def _matching(values: Mapping[str, UUID | Scope]) -> models.Filter:
    return models.Filter(
        must=[
            models.FieldCondition(key=field, match=models.MatchValue(value=str(value)))
            for field, value in values.items()
        ]
    )
