"""``/v1``: what clients of OpenAI's API ask, answered from the documents."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.openai import chat, embeddings, models
from app.api.openai_errors import OPENAI_RESPONSES

router = APIRouter(prefix="/v1", tags=["openai"], responses=OPENAI_RESPONSES)
for _resource in (chat, models, embeddings):
    router.include_router(_resource.router)
