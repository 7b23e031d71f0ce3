"""Answers by any server that speaks OpenAI's protocol: OpenAI, Ollama, vLLM, llama.cpp and others."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import openai
from openai import AsyncOpenAI

from app.answer.prompt import messages
from app.errors import ProviderError
from app.providers.protocols import AnswerDelta, AnswerRequest, Usage

CONNECT_RETRIES = 1


class OpenAIAnswerer:
    """One model of one server."""

    def __init__(
        self, *, model: str, api_key: str | None, base_url: str | None, timeout_s: float, name: str = "openai"
    ) -> None:
        self.name = name
        self.model = model
        # Servers on one's own machines often ask for no key, but the client wants one.
        self._client = AsyncOpenAI(
            api_key=api_key or "none", base_url=base_url, timeout=timeout_s, max_retries=CONNECT_RETRIES
        )

    async def stream(self, request: AnswerRequest) -> AsyncIterator[AnswerDelta]:
        """Yield the answer as it is written; closing the iterator closes the connection, which stops the server.

        Raises:
            ProviderError: the server refused, failed or did not answer in time.
        """
        system, user = messages(request, secrets.token_hex(8))
        try:
            chunks = await self._client.chat.completions.create(
                model=self.model,
                messages=[{"role": "system", "content": system}, {"role": "user", "content": user}],
                max_tokens=request.max_tokens,
                temperature=0,
                stream=True,
                stream_options={"include_usage": True},
            )
            async with chunks:
                async for chunk in chunks:
                    usage = chunk.usage
                    yield AnswerDelta(
                        (chunk.choices[0].delta.content or "") if chunk.choices else "",
                        Usage(usage.prompt_tokens, usage.completion_tokens) if usage else None,
                    )
        except openai.APIError as error:
            raise self._failure(error) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _failure(self, error: openai.APIError) -> ProviderError:
        if isinstance(error, openai.APITimeoutError):
            cause = "did not answer in time; it may be overloaded, or PROVIDER_TIMEOUT too short"
        elif isinstance(error, openai.APIConnectionError):
            cause = "can't be reached; check OPENAI_BASE_URL or OLLAMA_HOST, and that the server runs"
        elif isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
            cause = "refused the key; check OPENAI_API_KEY"
        elif isinstance(error, openai.RateLimitError):
            cause = "has reached its rate limit or its budget; try again later"
        elif isinstance(error, openai.NotFoundError):
            cause = f"has no model {self.model!r}; check OPENAI_MODEL"
        else:
            cause = f"failed ({type(error).__name__})"
        return ProviderError(self.name, f"The model provider {self.name!r} {cause}.")
