"""Vectors by any server that speaks OpenAI's protocol: OpenAI, Ollama, vLLM, llama.cpp, text-embeddings-inference."""

from __future__ import annotations

from collections.abc import Callable

import openai
from openai import AsyncOpenAI

from app.providers.embedding.remote import EmbeddingLimits, Prefixes, RemoteEmbedder
from app.providers.openai import OPENAI_URL
from app.providers.protocols import EmbeddingIdentity
from app.providers.remote import CONNECT_TIMEOUT_S, checked_url


class OpenAIEmbedder(RemoteEmbedder):
    """One model of one server; only OpenAI's third generation is asked for a dimension of its own."""

    def __init__(
        self,
        *,
        model: str,
        identity: EmbeddingIdentity,
        api_key: str | None,
        base_url: str | None,
        limits: EmbeddingLimits,
        prefixes: Prefixes,
        on_tokens: Callable[[int], None],
    ) -> None:
        """Raises ConfigurationError when ``base_url`` is no URL."""
        super().__init__("openai", identity, limits, prefixes, on_tokens)
        self._model = model
        self._client = AsyncOpenAI(
            api_key=api_key or "none",
            base_url=checked_url(base_url or OPENAI_URL, "EMBEDDING_BASE_URL", "https://models.example/v1"),
            timeout=openai.Timeout(limits.timeout_s, connect=min(limits.timeout_s, CONNECT_TIMEOUT_S)),
            max_retries=limits.retries,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _ask(self, texts: list[str], *, query: bool) -> tuple[list[list[float]], int]:
        shortened = self._model.startswith("text-embedding-3")
        try:
            answer = await self._client.embeddings.create(
                model=self._model,
                input=texts,
                dimensions=self.identity.dimension if shortened else openai.omit,
                # Base64 would be shorter, but not all servers speak it.
                encoding_format="float",
            )
        except openai.APITimeoutError as error:
            raise self._error("was not done in time (EMBEDDING_TIMEOUT)") from error
        except openai.APIConnectionError as error:
            raise self._error("can't be reached; check EMBEDDING_BASE_URL, and the server") from error
        except openai.APIStatusError as error:
            raise self._error(_cause(error.status_code, self._model)) from error
        except (openai.OpenAIError, ValueError) as error:
            raise self._error(f"gave an answer that can't be read ({type(error).__name__})") from error
        rows = [item.embedding for item in sorted(answer.data, key=lambda item: item.index)]
        return rows, answer.usage.prompt_tokens if answer.usage else 0


def _cause(status: int, model: str) -> str:
    if status in (401, 403):
        return "refused the key; check EMBEDDING_API_KEY or OPENAI_API_KEY"
    if status == 404:
        return f"knows no model {model!r}; check EMBEDDING_MODEL and EMBEDDING_BASE_URL"
    if status == 429:
        return "has reached its rate limit or its budget"
    if status < 500:
        return f"rejected the texts (HTTP {status}); check EMBEDDING_MAX_TOKENS, EMBEDDING_BATCH_SIZE, EMBEDDING_MODEL"
    return f"failed (HTTP {status})"
