"""The vector index of server mode: a Qdrant server, by its REST API."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import httpx
from qdrant_client import AsyncQdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse

from app.errors import ConfigurationError, DependencyUnavailableError
from app.providers.protocols import EmbeddingIdentity
from app.vectors.protocols import Hit, Point, Scope, SparseVector, Vector

TENANT, COLLECTION, DOCUMENT, VERSION = "tenant_id", "collection_id", "document_id", "version_id"
ATTRIBUTES = "metadata"


class QdrantIndex:
    """One collection for all tenants, behind an alias; its own name carries the embedding model."""

    def __init__(
        self, url: str, alias: str, identity: EmbeddingIdentity, api_key: str | None = None, timeout_s: float = 10.0
    ) -> None:
        self._client = AsyncQdrantClient(
            url=url, api_key=api_key, timeout=max(1, round(timeout_s)), prefer_grpc=False, check_compatibility=False
        )
        self._alias = alias
        self._identity = identity
        self._collection = f"{alias}-{hashlib.sha256(str(identity).encode()).hexdigest()[:8]}"

    async def prepare(self) -> None:
        """Make the collection, its payload indexes and the alias when absent.

        Raises:
            ConfigurationError: the alias points to vectors of another model.
        """
        async with _translated():
            aliases = {a.alias_name: a.collection_name for a in (await self._client.get_aliases()).aliases}
            present = aliases.get(self._alias)
            if present == self._collection:
                return
            if present is not None:
                raise ConfigurationError(
                    f"The alias {self._alias!r} of Qdrant points to {present!r}, made with another embedding model "
                    f"than {self._identity}. Start with the former model, or name another QDRANT_COLLECTION_NAME."
                )
            # The alias comes last: without it, an earlier start may have been killed at any point before.
            await self._create()
            await self._client.update_collection_aliases(
                [
                    models.CreateAliasOperation(
                        create_alias=models.CreateAlias(collection_name=self._collection, alias_name=self._alias)
                    )
                ]
            )

    async def _create(self) -> None:
        """Make whatever is missing; what is there already stays."""
        try:
            await self._client.create_collection(
                self._collection,
                vectors_config={
                    "dense": models.VectorParams(size=self._identity.dimension, distance=models.Distance.COSINE)
                },
                sparse_vectors_config={"sparse": models.SparseVectorParams(modifier=models.Modifier.IDF)},
            )
        except UnexpectedResponse as error:
            if error.status_code != 409:  # another process made it in the meantime
                raise
        for field in (TENANT, COLLECTION, DOCUMENT, VERSION):
            schema = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=field == TENANT)
            await self._client.create_payload_index(self._collection, field, schema, wait=True)

    async def upsert(self, points: Sequence[Point]) -> None:
        """Write points and wait until they are searchable."""
        structs = [
            models.PointStruct(
                id=str(point.chunk_id),
                vector={
                    "dense": point.dense.tolist(),
                    "sparse": models.SparseVector(indices=point.sparse.indices, values=point.sparse.values),
                },
                payload={
                    TENANT: str(point.tenant_id),
                    COLLECTION: str(point.collection_id),
                    DOCUMENT: str(point.document_id),
                    VERSION: str(point.version_id),
                    ATTRIBUTES: dict(point.attributes),
                },
            )
            for point in points
        ]
        async with _translated():
            await self._client.upsert(self._alias, structs, wait=True)

    async def delete_version(self, version_id: UUID) -> None:
        """Remove a version's points."""
        await self._delete({VERSION: version_id})

    async def delete_document(self, document_id: UUID) -> None:
        """Remove a document's points."""
        await self._delete({DOCUMENT: document_id})

    async def _delete(self, conditions: dict[str, UUID]) -> None:
        async with _translated():
            selector = models.FilterSelector(filter=_matching(conditions))
            await self._client.delete(self._alias, selector, wait=True)

    async def count(self, *, document_id: UUID | None = None, version_id: UUID | None = None) -> int:
        """Exact number of points."""
        wanted = {DOCUMENT: document_id, VERSION: version_id}
        conditions = {field: value for field, value in wanted.items() if value is not None}
        async with _translated():
            found = await self._client.count(
                self._alias, count_filter=_matching(conditions) if conditions else None, exact=True
            )
        return found.count

    async def search(
        self, scope: Scope, dense: Vector | None, sparse: SparseVector | None, limit: int
    ) -> tuple[list[Hit], list[Hit]]:
        """Best hits by meaning and by words, in one request."""
        wall = _matching({TENANT: scope.tenant_id, COLLECTION: scope.collection_id})
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
            answers = await self._client.query_batch_points(self._alias, requests)
        found = {
            side: [Hit(UUID(str(point.id)), point.score) for point in answer.points]
            for side, answer in zip(sides, answers, strict=True)
        }
        return found.get("dense", []), found.get("sparse", [])

    async def check(self) -> None:
        """Return when the server answers and knows the alias."""
        async with _translated():
            await self._client.get_collection(self._alias)

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


def _matching(values: dict[str, UUID]) -> models.Filter:
    return models.Filter(
        must=[
            models.FieldCondition(key=field, match=models.MatchValue(value=str(value)))
            for field, value in values.items()
        ]
    )
