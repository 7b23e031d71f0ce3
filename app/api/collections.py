"""``/collections``: sets of documents that are asked together, each with settings of its own."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.config import JsonDict
from sqlalchemy import select

from app.api.deps import IngestPrincipal, QueryPrincipal, ServicesDep
from app.api.errors import PROBLEM_RESPONSES, problem_responses
from app.api.fields import NO_NUL, NewName, PathName
from app.db.bootstrap import find_collection
from app.db.collection_settings import CHUNK_OVERLAP_TOKENS, CHUNK_TOKENS, CollectionSettings
from app.db.models import Collection
from app.errors import InvalidRequestError
from app.ingest.collections import create_collection, delete_collection, document_counts
from app.settings import Strategy

router = APIRouter(prefix="/collections", tags=["collections"], responses=PROBLEM_RESPONSES)
# Of the bundled model's window of 256, less its two special tokens and the headings that go before each passage.
MIN_CHUNK_TOKENS, MAX_CHUNK_TOKENS = 32, 194
_SIZES_CHANGED = (
    "The new chunk sizes hold for documents that are added from now on; `anchorage reindex` applies them to the others."
)


class Answering(BaseModel):
    """How the collection is asked where a question says nothing; null follows the service."""

    model_config = ConfigDict(extra="forbid")
    strategy: Strategy | None = None
    top_k: int | None = Field(None, ge=1, le=100)
    threshold: float | None = Field(None, ge=0, le=1, description="Least cosine of the best passage.")
    rerank: bool | None = None


class NewCollection(Answering):
    """A collection to make."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"name": "manuals", "description": "What ships with our machines", "chunk_tokens": 160}]
        },
    )
    name: NewName
    description: str = Field("", max_length=2000, pattern=NO_NUL)
    chunk_tokens: int = Field(CHUNK_TOKENS, ge=MIN_CHUNK_TOKENS, le=MAX_CHUNK_TOKENS)
    chunk_overlap_tokens: int = Field(CHUNK_OVERLAP_TOKENS, ge=0, description="Less than half of `chunk_tokens`.")

    @model_validator(mode="after")
    def _overlap_is_small(self) -> Self:
        if self.chunk_overlap_tokens * 2 >= self.chunk_tokens:
            raise ValueError(_OVERLAP)
        return self


class CollectionChange(Answering):
    """What to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"strategy": "dense", "top_k": 8, "threshold": None}]})
    description: str | None = Field(None, max_length=2000, pattern=NO_NUL)
    chunk_tokens: int | None = Field(None, ge=MIN_CHUNK_TOKENS, le=MAX_CHUNK_TOKENS)
    chunk_overlap_tokens: int | None = Field(None, ge=0)


_OVERLAP = "chunk_overlap_tokens must be less than half of chunk_tokens"
_EXAMPLE: JsonDict = {
    "name": "manuals",
    "description": "What ships with our machines",
    "chunk_tokens": 160,
    "chunk_overlap_tokens": 24,
    "strategy": None,
    "top_k": 8,
    "threshold": None,
    "rerank": None,
    "documents": 12,
    "embedding": "all-MiniLM-L6-v2@onnx-int8-1.0.0/384/l2",
    "created_at": "2026-01-31T09:00:00Z",
}


class CollectionInfo(BaseModel):
    """A collection; what is null follows the service. ``embedding`` names the model of its vectors."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})
    name: str
    description: str
    chunk_tokens: int
    chunk_overlap_tokens: int
    strategy: Strategy | None
    top_k: int | None
    threshold: float | None
    rerank: bool | None
    documents: int
    embedding: str
    created_at: datetime


class ChangedCollection(CollectionInfo):
    """The collection as it is now; ``notice`` says what has yet to be done for a change to hold everywhere."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE | {"notice": _SIZES_CHANGED}]})
    notice: str | None


class CollectionList(BaseModel):
    """All collections of the tenant, by name."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"collections": [_EXAMPLE]}]})
    collections: list[CollectionInfo]


class RemovedCollection(BaseModel):
    """The collection is gone from every answer; jobs take the vectors of so many documents out."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"documents": 12}]})
    documents: int


@router.post("", status_code=201, summary="Make a collection", responses=problem_responses(409))
async def create(body: NewCollection, services: ServicesDep, principal: IngestPrincipal) -> CollectionInfo:
    """Its documents are chunked by its own sizes, and asked by its own settings."""
    settings = CollectionSettings(**body.model_dump(exclude={"name"}))
    collection = await create_collection(
        services.database, principal.tenant_id, body.name, settings, str(services.embedder.identity)
    )
    return CollectionInfo(**_fields(collection, 0))


@router.get("", summary="List collections")
async def listing(services: ServicesDep, principal: QueryPrincipal) -> CollectionList:
    """All of them, by name, with how many documents each has."""
    async with services.database.session(reading=True) as session:
        query = select(Collection).where(Collection.tenant_id == principal.tenant_id).order_by(Collection.name)
        found = list(await session.scalars(query))
        counts = await document_counts(session, [collection.id for collection in found])
    return CollectionList(collections=[CollectionInfo(**_fields(item, counts.get(item.id, 0))) for item in found])


@router.get("/{name}", summary="One collection")
async def one(name: PathName, services: ServicesDep, principal: QueryPrincipal) -> CollectionInfo:
    """Its settings, and how many documents it has."""
    async with services.database.session(reading=True) as session:
        collection = await find_collection(session, principal.tenant_id, name)
        counts = await document_counts(session, [collection.id])
    return CollectionInfo(**_fields(collection, counts.get(collection.id, 0)))


@router.patch("/{name}", summary="Change a collection")
async def change(
    name: PathName, body: CollectionChange, services: ServicesDep, principal: IngestPrincipal
) -> ChangedCollection:
    """Answers follow the change at once. Chunk sizes hold for documents that are added from now on."""
    async with services.database.session() as session:
        collection = await find_collection(session, principal.tenant_id, name, lock=True)
        before = CollectionSettings.read(collection.settings)
        after = replace(before, **_asked(body))
        if after.chunk_overlap_tokens * 2 >= after.chunk_tokens:
            raise InvalidRequestError(f"{_OVERLAP}.")
        collection.settings = after.written()
        counts = await document_counts(session, [collection.id])
    documents = counts.get(collection.id, 0)
    resized = (before.chunk_tokens, before.chunk_overlap_tokens) != (after.chunk_tokens, after.chunk_overlap_tokens)
    notice = _SIZES_CHANGED if resized and documents else None
    return ChangedCollection(**_fields(collection, documents), notice=notice)


@router.delete("/{name}", status_code=202, summary="Delete a collection", responses=problem_responses(409))
async def delete(name: PathName, services: ServicesDep, principal: IngestPrincipal) -> RemovedCollection:
    """From now on no answer uses its documents, and its sessions are gone. The default collection stays."""
    documents = await delete_collection(services.database, principal.tenant_id, name)
    return RemovedCollection(documents=documents)


def _asked(body: CollectionChange) -> dict[str, Any]:
    """What the request sets. Null unsets how to answer; the others have no null."""
    sent = body.model_dump(exclude_unset=True)
    return {name: value for name, value in sent.items() if value is not None or name in Answering.model_fields}


def _fields(collection: Collection, documents: int) -> dict[str, Any]:
    return {
        "name": collection.name,
        **CollectionSettings.read(collection.settings).written(),
        "documents": documents,
        "embedding": collection.embedding,
        "created_at": collection.created_at,
    }
