"""``POST /v1/embeddings``: the vectors that the service itself searches by."""

from __future__ import annotations

import asyncio
import base64
from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.config import JsonDict

from app.api.deps import QueryPrincipal, ServicesDep
from app.api.openai.models import embedding_model
from app.errors import InvalidRequestError, ModelNotFoundError
from app.providers.protocols import Vector

router = APIRouter()
MAX_INPUTS = 256
Text = Annotated[str, StringConstraints(min_length=1, max_length=32_768)]
_EXAMPLE: JsonDict = {
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.013, -0.041, 0.028]}],
    "model": "all-MiniLM-L6-v2",
    "usage": {"prompt_tokens": 4, "total_tokens": 4},
}


class EmbeddingRequest(BaseModel):
    """Texts to embed. What OpenAI's clients send beside these is left alone."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"model": "all-MiniLM-L6-v2", "input": ["When do you open?"]}]}
    )
    model: str = Field(max_length=200)
    input: Text | Annotated[list[Text], Field(min_length=1, max_length=MAX_INPUTS)]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1, description="The model's own number, if any.")


class EmbeddingItem(BaseModel):
    """A vector: numbers, or float32 in little endian as base64."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingUsage(BaseModel):
    """Tokens that were read."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingResponse(BaseModel):
    """One vector a text, in order."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})
    object: Literal["list"] = "list"
    data: list[EmbeddingItem]
    model: str
    usage: EmbeddingUsage


@router.post("/embeddings", summary="Embed texts")
async def embed(body: EmbeddingRequest, services: ServicesDep, principal: QueryPrincipal) -> EmbeddingResponse:
    """Vectors of unit length, of the model that the documents are embedded with."""
    embedder = services.embedder
    if body.model not in (embedding_model(services), str(embedder.identity)):
        raise ModelNotFoundError(body.model)
    if body.dimensions not in (None, embedder.identity.dimension):
        raise InvalidRequestError(
            f"This model's vectors have {embedder.identity.dimension} dimensions, no other number."
        )
    texts = [body.input] if isinstance(body.input, str) else body.input
    counts = await asyncio.to_thread(lambda: [len(embedder.token_offsets(text)) for text in texts])
    if max(counts) > embedder.max_tokens:
        raise InvalidRequestError(
            f"Text {counts.index(max(counts))} has {max(counts)} tokens; this model reads {embedder.max_tokens}. "
            "Split it."
        )
    matrix = await embedder.embed_documents(texts)
    data = [
        EmbeddingItem(index=index, embedding=_base64(vector) if body.encoding_format == "base64" else vector.tolist())
        for index, vector in enumerate(matrix)
    ]
    tokens = EmbeddingUsage(prompt_tokens=sum(counts), total_tokens=sum(counts))
    return EmbeddingResponse(data=data, model=embedding_model(services), usage=tokens)


def _base64(vector: Vector) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
