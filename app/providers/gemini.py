"""Answers by Google's Gemini models, through the Gemini API."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from typing import Any, cast

import httpx
from google import genai
from google.genai import errors, types

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

GEMINI_URL = "https://generativelanguage.googleapis.com"
RETRIED = [408, 429, 500, 502, 503, 504]
FIRST_DELAY_S = 0.5
# The responses that a stream opened; the client does not tell.
_opened: ContextVar[list[httpx.Response] | None] = ContextVar("opened", default=None)


class GeminiAnswerer(RemoteAnswerer):
    """One model. Thinking is left as the model has it; what it costs is counted with the answer's tokens."""

    names = SettingNames("GEMINI_API_KEY", "GEMINI_MODEL", "GEMINI_BASE_URL")
    errors = (errors.APIError, httpx.HTTPError)

    def __init__(
        self,
        *,
        model: str,
        api_key: str,
        base_url: str | None,
        limits: Limits,
        nonce: Callable[[], str] = new_nonce,
        name: str = "gemini",
    ) -> None:
        """Raises ConfigurationError when ``base_url`` is no URL."""
        super().__init__(name, model, limits, nonce)
        address = checked_url(base_url or GEMINI_URL, self.names.address, GEMINI_URL)
        self._http, self._client = connect(api_key, address, limits.timeout_s, limits.retries)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask(self, exchange: Exchange) -> AsyncGenerator[AnswerDelta, None]:
        usage: Usage | None = None
        finish: types.FinishReason | None = None
        wrote = False
        chunks = await self._client.aio.models.generate_content_stream(
            model=self.model,
            contents=_contents(exchange),
            config=types.GenerateContentConfig(
                system_instruction=exchange.system,
                max_output_tokens=exchange.max_tokens,
                temperature=0,
                automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            ),
        )
        async with _released(cast(AsyncGenerator[types.GenerateContentResponse, None], chunks)) as released:
            async for chunk in released:
                usage = _usage(chunk.usage_metadata) or usage
                candidate = chunk.candidates[0] if chunk.candidates else None
                finish = (candidate.finish_reason if candidate else None) or finish
                if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason is not None:
                    # It will not answer this: as good as an answer that says nothing.
                    finish = types.FinishReason.SAFETY
                if text := _text(candidate):
                    wrote = True
                    yield AnswerDelta(text)
        if finish is None or (finish is types.FinishReason.MAX_TOKENS and not wrote):
            raise BrokenOffError(wrote_nothing=finish is not None)
        yield AnswerDelta("", usage or Usage())

    def _status(self, error: Exception) -> int | None:
        return status_of(error)


@asynccontextmanager
async def _released(
    chunks: AsyncGenerator[types.GenerateContentResponse, None],
) -> AsyncIterator[AsyncIterator[types.GenerateContentResponse]]:
    """The stream, whose connection is closed with it: Google's client leaves that to the garbage collector."""
    opened: list[httpx.Response] = []

    async def begun() -> AsyncGenerator[types.GenerateContentResponse, None]:
        token = _opened.set(opened)
        try:
            first = await anext(chunks, None)
        finally:
            _opened.reset(token)
        if first is not None:
            yield first
            async for chunk in chunks:
                yield chunk

    try:
        async with aclosing(chunks), aclosing(begun()) as stream:
            yield stream
    finally:
        for response in opened:
            await response.aclose()


async def _remember(response: httpx.Response) -> None:
    if (opened := _opened.get()) is not None:
        opened.append(response)


def connect(api_key: str, address: str, timeout_s: float, retries: int) -> tuple[httpx.AsyncClient, genai.Client]:
    """Google's client, and the connections that it uses, which are to be closed."""
    http = httpx.AsyncClient(
        timeout=httpx.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
        event_hooks={"response": [_remember]},
    )
    options = types.HttpOptions(
        base_url=address,
        timeout=max(1, int(timeout_s * 1000)),
        httpx_async_client=http,
        retry_options=types.HttpRetryOptions(
            attempts=retries + 1, initial_delay=FIRST_DELAY_S, http_status_codes=RETRIED
        ),
    )
    return http, genai.Client(vertexai=False, api_key=api_key, http_options=options)


def status_of(error: Exception) -> int | None:
    """The HTTP status that an error of Google's client stands for; as in ``RemoteAnswerer._status``."""
    if isinstance(error, httpx.TimeoutException):
        return 408
    if isinstance(error, httpx.TransportError):
        return UNREACHABLE
    if not isinstance(error, errors.APIError):
        return None
    told = f"{error.status} {error.message}"
    if error.code == 400 and "api key" in told.lower():
        return 401
    if error.code == 400 and "token count" in told.lower():
        return TOO_LONG
    return error.code


def _contents(exchange: Exchange) -> Any:
    if exchange.image is None:
        return exchange.user
    image = types.Part.from_bytes(data=exchange.image.content, mime_type=exchange.image.media_type)
    return [image, types.Part.from_text(text=exchange.user)]


def _text(candidate: types.Candidate | None) -> str:
    parts = candidate.content.parts if candidate and candidate.content else None
    return "".join(part.text for part in parts or () if part.text and not part.thought)


def _usage(told: types.GenerateContentResponseUsageMetadata | None) -> Usage | None:
    if told is None:
        return None
    written = (told.candidates_token_count or 0) + (told.thoughts_token_count or 0)
    return Usage(told.prompt_token_count or 0, written)
