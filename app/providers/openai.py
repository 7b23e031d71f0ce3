"""Answers by any server that speaks OpenAI's protocol: OpenAI, Ollama, vLLM, llama.cpp and others."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx2
import openai
from openai import AsyncOpenAI

from app.providers.protocols import AnswerDelta, Usage
from app.providers.remote import (
    CONNECT_TIMEOUT_S,
    TOO_LONG,
    UNREACHABLE,
    BrokenOffError,
    Exchange,
    Limits,
    RemoteAnswerer,
    SettingNames,
    checked_url,
    new_nonce,
)

OPENAI_URL = "https://api.openai.com/v1"
# What llama.cpp, OpenAI and vLLM call a prompt that is too long; vLLM only says so in words.
_TOO_LONG = ("exceed_context_size_error", "context_length_exceeded", "maximum context length")


class OpenAIAnswerer(RemoteAnswerer):
    """One model of one server."""

    names = SettingNames("OPENAI_API_KEY", "OPENAI_MODEL", "OPENAI_BASE_URL")
    # The client does not put those of a stream that breaks into its own.
    errors = (openai.OpenAIError, httpx2.HTTPError)

    def __init__(
        self,
        *,
        model: str,
        api_key: str | None,
        base_url: str | None,
        limits: Limits,
        nonce: Callable[[], str] = new_nonce,
        name: str = "openai",
    ) -> None:
        """Raises ConfigurationError when ``base_url`` is no URL."""
        super().__init__(name, model, limits, nonce)
        self._official = base_url is None
        self._client = AsyncOpenAI(
            # Servers on one's own machines often ask for no key, but the client wants one.
            api_key=api_key or "none",
            base_url=checked_url(base_url or OPENAI_URL, self.names.address, "https://models.example/v1"),
            timeout=openai.Timeout(limits.timeout_s, connect=min(limits.timeout_s, CONNECT_TIMEOUT_S)),
            max_retries=limits.retries,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _ask(self, exchange: Exchange) -> AsyncGenerator[AnswerDelta, None]:
        finish: str | None = None
        wrote = False
        chunks = await self._client.chat.completions.create(
            model=self.model,
            messages=[{"role": "system", "content": exchange.system}, {"role": "user", "content": _content(exchange)}],
            stream=True,
            stream_options={"include_usage": True},
            **self._parameters(exchange.max_tokens),
        )
        async with chunks:
            async for chunk in chunks:
                choice = chunk.choices[0] if chunk.choices else None
                finish = finish or (choice.finish_reason if choice is not None else None)
                text = (choice.delta.content if choice is not None else None) or ""
                wrote = wrote or bool(text)
                usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens) if chunk.usage else None
                if text or usage:
                    yield AnswerDelta(text, usage)
        if finish is None or (finish == "length" and not wrote):
            raise BrokenOffError(wrote_nothing=finish is not None)

    def _parameters(self, max_tokens: int) -> dict[str, Any]:
        """OpenAI's models that think take neither a temperature nor the old name of the limit."""
        if self._official and not self.model.startswith(("gpt-4", "gpt-3")):
            return {"max_completion_tokens": max_tokens}
        return {"max_tokens": max_tokens, "temperature": 0}

    def _status(self, error: Exception) -> int | None:
        if isinstance(error, (openai.APITimeoutError, httpx2.TimeoutException)):
            return 408
        if isinstance(error, (openai.APIConnectionError, httpx2.TransportError)):
            return UNREACHABLE
        if not isinstance(error, openai.APIStatusError):
            return None
        told = f"{error.code} {error.type} {error.message}" if error.status_code == 400 else ""
        return TOO_LONG if any(sign in told for sign in _TOO_LONG) else error.status_code


class OllamaAnswerer(OpenAIAnswerer):
    """Ollama, at its OpenAI-compatible route; it asks for no key."""

    names = SettingNames("OLLAMA_HOST", "OLLAMA_MODEL", "OLLAMA_HOST")


def _content(exchange: Exchange) -> Any:
    if exchange.image is None:
        return exchange.user
    data = base64.b64encode(exchange.image.content).decode()
    url = f"data:{exchange.image.media_type};base64,{data}"
    return [{"type": "text", "text": exchange.user}, {"type": "image_url", "image_url": {"url": url}}]
