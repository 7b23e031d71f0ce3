"""Vectors by Google's models, which embed questions and documents differently."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from google.genai import errors, types

from app.providers.embedding.remote import EmbeddingLimits, Prefixes, RemoteEmbedder
from app.providers.gemini import GEMINI_URL, connect, status_of
from app.providers.protocols import EmbeddingIdentity
from app.providers.remote import TOO_LONG, UNREACHABLE, checked_url

_CAUSES = {
    UNREACHABLE: "can't be reached; check EMBEDDING_BASE_URL",
    401: "refused the key; check EMBEDDING_API_KEY or GEMINI_API_KEY",
    403: "refused the key; check EMBEDDING_API_KEY or GEMINI_API_KEY",
    404: "knows no such model; check EMBEDDING_MODEL",
    408: "was not done in time (EMBEDDING_TIMEOUT)",
    TOO_LONG: "rejected the texts as too long; check EMBEDDING_MAX_TOKENS",
    429: "has reached its rate limit or its budget",
}


class GeminiEmbedder(RemoteEmbedder):
    """One model, asked with the task that each text is for."""

    def __init__(
        self,
        *,
        model: str,
        identity: EmbeddingIdentity,
        api_key: str,
        base_url: str | None,
        limits: EmbeddingLimits,
        prefixes: Prefixes,
        on_tokens: Callable[[int], None],
    ) -> None:
        """Raises ConfigurationError when ``base_url`` is no URL."""
        super().__init__("gemini", identity, limits, prefixes, on_tokens)
        self._model = model
        address = checked_url(base_url or GEMINI_URL, "EMBEDDING_BASE_URL", GEMINI_URL)
        self._http, self._client = connect(api_key, address, limits.timeout_s, limits.retries)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask(self, texts: list[str], *, query: bool) -> tuple[list[list[float]], int]:
        contents: list[Any] = list(texts)
        try:
            answer = await self._client.aio.models.embed_content(
                model=self._model,
                contents=contents,
                config=types.EmbedContentConfig(
                    task_type="RETRIEVAL_QUERY" if query else "RETRIEVAL_DOCUMENT",
                    output_dimensionality=self.identity.dimension,
                ),
            )
        except (errors.APIError, httpx.HTTPError, ValueError) as error:
            status = status_of(error)
            cause = f"gave an answer that can't be read ({type(error).__name__})"
            raise self._error(cause if status is None else _CAUSES.get(status, f"failed (HTTP {status})")) from error
        # The Gemini API does not say how many tokens it billed.
        return [list(item.values or ()) for item in answer.embeddings or ()], 0
