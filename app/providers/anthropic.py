"""Answers by Anthropic's models, through the Messages API."""

from __future__ import annotations

import base64
from collections.abc import AsyncGenerator, Callable
from typing import Any

import anthropic
import httpx2
from anthropic import AsyncAnthropic

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

ANTHROPIC_URL = "https://api.anthropic.com"
# An error within a stream has its type and no status.
_STATUS_OF_TYPE = {
    "authentication_error": 401,
    "permission_error": 403,
    "billing_error": 402,
    "not_found_error": 404,
    "invalid_request_error": 400,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "api_error": 500,
    "overloaded_error": 529,
}


class AnthropicAnswerer(RemoteAnswerer):
    """One model; how it answers is left to the model, since newer ones take no temperature."""

    names = SettingNames("ANTHROPIC_API_KEY", "ANTHROPIC_MODEL", "ANTHROPIC_BASE_URL")
    # The client does not put those of a stream that breaks into its own.
    errors = (anthropic.AnthropicError, httpx2.HTTPError)

    def __init__(
        self,
        *,
        model: str,
        api_key: str,
        base_url: str | None,
        limits: Limits,
        nonce: Callable[[], str] = new_nonce,
        name: str = "anthropic",
    ) -> None:
        """Raises ConfigurationError when ``base_url`` is no URL."""
        super().__init__(name, model, limits, nonce)
        self._client = AsyncAnthropic(
            api_key=api_key,
            base_url=checked_url(base_url or ANTHROPIC_URL, self.names.address, ANTHROPIC_URL),
            timeout=anthropic.Timeout(limits.timeout_s, connect=min(limits.timeout_s, CONNECT_TIMEOUT_S)),
            max_retries=limits.retries,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _ask(self, exchange: Exchange) -> AsyncGenerator[AnswerDelta, None]:
        prompt_tokens = 0
        stop: str | None = None
        finished = wrote = False
        events = await self._client.messages.create(
            model=self.model,
            max_tokens=exchange.max_tokens,
            system=exchange.system,
            messages=[{"role": "user", "content": _content(exchange)}],
            stream=True,
        )
        async with events:
            async for event in events:
                if event.type == "message_start":
                    told = event.message.usage
                    cached = (told.cache_creation_input_tokens or 0) + (told.cache_read_input_tokens or 0)
                    prompt_tokens = told.input_tokens + cached
                elif event.type == "content_block_delta" and event.delta.type == "text_delta" and event.delta.text:
                    wrote = True
                    yield AnswerDelta(event.delta.text)
                elif event.type == "message_delta":
                    stop = event.delta.stop_reason
                    yield AnswerDelta("", Usage(prompt_tokens, event.usage.output_tokens))
                elif event.type == "message_stop":
                    finished = True
        if not finished or (stop == "max_tokens" and not wrote):
            raise BrokenOffError(wrote_nothing=finished)

    def _status(self, error: Exception) -> int | None:
        if isinstance(error, (anthropic.APITimeoutError, httpx2.TimeoutException)):
            return 408
        if isinstance(error, (anthropic.APIConnectionError, httpx2.TransportError)):
            return UNREACHABLE
        if not isinstance(error, anthropic.APIStatusError):
            return None
        body = error.body if isinstance(error.body, dict) else {}
        details = body.get("error")
        kind = details.get("type") if isinstance(details, dict) else None
        status = error.status_code if error.status_code >= 400 else _STATUS_OF_TYPE.get(str(kind))
        return TOO_LONG if status == 400 and "prompt is too long" in str(details) else status


def _content(exchange: Exchange) -> Any:
    if exchange.image is None:
        return exchange.user
    data = base64.b64encode(exchange.image.content).decode()
    source = {"type": "base64", "media_type": exchange.image.media_type, "data": data}
    return [{"type": "image", "source": source}, {"type": "text", "text": exchange.user}]
