"""``GET /v1/models``: collections as models.

``manuals`` asks the collection of that name with the service's own choice of provider, ``manuals:openai`` with that
provider. The embedding model stands beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict
from pydantic.config import JsonDict
from sqlalchemy import select

from app.api.deps import QueryPrincipal, ServicesDep
from app.api.fields import NO_NUL
from app.db.models import Collection
from app.errors import ModelNotFoundError
from app.services import Services
from app.settings import AnswerProvider

router = APIRouter()
SEPARATOR = ":"
_MODEL: JsonDict = {"id": "manuals", "object": "model", "created": 1769850000, "owned_by": "anchorage"}
ModelId = Annotated[str, Path(min_length=1, max_length=200, pattern=NO_NUL, examples=["manuals"])]


class Model(BaseModel):
    """A collection to ask, or the embedding model."""

    model_config = ConfigDict(json_schema_extra={"examples": [_MODEL]})
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str


class ModelList(BaseModel):
    """What ``model`` may name."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"object": "list", "data": [_MODEL]}]})
    object: Literal["list"] = "list"
    data: list[Model]


@router.get("/models", summary="List models")
async def list_models(services: ServicesDep, principal: QueryPrincipal) -> ModelList:
    """Each collection as a model, and the embedding model. Behind a colon a provider may be named: `manuals:openai`."""
    collections = await _collections(services, principal.tenant_id)
    return ModelList(data=[*map(_model, collections), _embedding(services)])


@router.get("/models/{model}", summary="One model")
async def one_model(model: ModelId, services: ServicesDep, principal: QueryPrincipal) -> Model:
    """A collection or the embedding model; 404 when there is none of that name."""
    if model == embedding_model(services):
        return _embedding(services)
    collection, provider = read_model(model)
    for found in await _collections(services, principal.tenant_id):
        if found.name == collection:
            return _model(found, provider)
    raise ModelNotFoundError(model)


def read_model(model: str) -> tuple[str, AnswerProvider | None]:
    """The collection and the provider that a model's name stands for. Raises ModelNotFoundError."""
    collection, separator, provider = model.partition(SEPARATOR)
    try:
        return collection, AnswerProvider(provider) if separator else None
    except ValueError:
        raise ModelNotFoundError(model) from None


def embedding_model(services: Services) -> str:
    """The name of the service's embedder as a model."""
    return services.embedder.identity.name


async def _collections(services: Services, tenant_id: UUID) -> Sequence[Collection]:
    async with services.database.session(reading=True) as session:
        query = select(Collection).where(Collection.tenant_id == tenant_id).order_by(Collection.name)
        return list(await session.scalars(query))


def _model(collection: Collection, provider: AnswerProvider | None = None) -> Model:
    name = collection.name if provider is None else f"{collection.name}{SEPARATOR}{provider}"
    return Model(id=name, created=int(collection.created_at.timestamp()), owned_by="anchorage")


def _embedding(services: Services) -> Model:
    # It came with the release, whose date nothing tells.
    return Model(
        id=embedding_model(services), created=int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()), owned_by="anchorage"
    )
