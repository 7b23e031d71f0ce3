"""Answers by any server that speaks OpenAI's protocol: OpenAI, Ollama, vLLM, llama.cpp and others."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from urllib.parse import urlsplit

import openai
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletionChunk

from app.answer.prompt import messages
from app.errors import ConfigurationError, ProviderError
from app.providers.protocols import AnswerDelta, AnswerRequest, Completion, Instruction, Usage

OPENAI_URL = "https://api.openai.com/v1"
MAX_RETRIES = 1
CONNECT_TIMEOUT_S = 5.0


def new_nonce() -> str:
    """64 random bits: what no document can hold."""
    return secrets.token_hex(8)


class OpenAIAnswerer:
    """One model of one server; ``timeout_s`` is for the whole answer, from the question to its last word."""

    name = "openai"

    def __init__(
        self,
        *,
        model: str,
        api_key: str | None,
        base_url: str | None,
        timeout_s: float,
        nonce: Callable[[], str] = new_nonce,
    ) -> None:
        """Raises ConfigurationError when ``base_url`` is no URL."""
        self.model = model
        self._timeout_s = timeout_s
        self._nonce = nonce
        address = base_url or OPENAI_URL
        if not _is_url(address):
            raise ConfigurationError(
                "The address of the model server is not a URL. OPENAI_BASE_URL looks like https://models.example/v1, "
                "OLLAMA_HOST like http://127.0.0.1:11434."
            )
        self._client = AsyncOpenAI(
            # Servers on one's own machines often ask for no key, but the client wants one.
            api_key=api_key or "none",
            base_url=address,
            timeout=openai.Timeout(timeout_s, connect=min(timeout_s, CONNECT_TIMEOUT_S)),
            max_retries=MAX_RETRIES,
        )

    async def stream(self, request: AnswerRequest) -> AsyncIterator[AnswerDelta]:
        """Yield the answer as it is written; closing the iterator closes the connection, which stops the server.

        Raises:
            ProviderError: the server refused, failed, broke off or was not done in time.
        """
        system, user = messages(request, self._nonce())
        async with aclosing(self._chat(system, user, request.max_tokens)) as deltas:
            async for delta in deltas:
                yield delta

    async def complete(self, instruction: Instruction) -> Completion | None:
        """What the model writes; a caller that is cancelled stops the server. Raises ProviderError."""
        text, usage = "", Usage()
        async with aclosing(self._chat(instruction.system, instruction.user, instruction.max_tokens)) as deltas:
            async for delta in deltas:
                text += delta.text
                usage = delta.usage or usage
        return Completion(text.strip(), usage)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _chat(self, system: str, user: str, max_tokens: int) -> AsyncGenerator[AnswerDelta, None]:
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        finished = False
        try:
            async with asyncio.timeout_at(deadline):
                chunks = await self._ask(system, user, max_tokens)
            async with chunks:
                iterator = aiter(chunks)
                while (chunk := await _next(iterator, deadline)) is not None:
                    choice = chunk.choices[0] if chunk.choices else None
                    finished = finished or (choice is not None and choice.finish_reason is not None)
                    text = (choice.delta.content if choice is not None else None) or ""
                    usage = Usage(chunk.usage.prompt_tokens, chunk.usage.completion_tokens) if chunk.usage else None
                    if text or usage:
                        yield AnswerDelta(text, usage)
        except (openai.OpenAIError, TimeoutError, ValueError) as error:
            # ValueError: the client lets errors of JSON through as they are.
            raise self._failure(error) from error
        if not finished:
            raise ProviderError(
                self.name,
                f"The model provider {self.name!r} broke off its answer, or it is no OpenAI-compatible server; "
                "check OPENAI_BASE_URL or OLLAMA_HOST, and the server's log.",
            )

    async def _ask(self, system: str, user: str, max_tokens: int) -> AsyncStream[ChatCompletionChunk]:
        return await self._client.chat.completions.create(
            model=self.model,
            messages=[{"role": "system", "content": system}, {"role": "user", "content": user}],
            max_tokens=max_tokens,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )

    def _failure(self, error: Exception) -> ProviderError:
        """Cause and cure in our own words: a server's message may hold the key or parts of the documents."""
        if isinstance(error, (TimeoutError, openai.APITimeoutError)):
            cause = (
                f"was not done within {self._timeout_s:g} s; it may be overloaded or unreachable, "
                "or PROVIDER_TIMEOUT too short"
            )
        elif isinstance(error, openai.APIConnectionError):
            cause = "can't be reached, or closed the connection; check OPENAI_BASE_URL or OLLAMA_HOST, and the server"
        elif isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
            cause = "refused the key; check OPENAI_API_KEY and what it may use"
        elif isinstance(error, openai.RateLimitError):
            cause = "has reached its rate limit or its budget; try again later, or raise the account's limit"
        elif isinstance(error, openai.NotFoundError):
            cause = f"knows no model {self.model!r} at this address; check OPENAI_MODEL, OPENAI_BASE_URL or OLLAMA_HOST"
        elif isinstance(error, openai.APIStatusError) and error.status_code < 500:
            cause = (
                f"rejected the request (HTTP {error.status_code}); the passages may exceed the context of "
                f"{self.model!r} (lower top_k), or it takes other parameters (choose another OPENAI_MODEL)"
            )
        elif isinstance(error, openai.APIStatusError):
            cause = f"failed (HTTP {error.status_code}); try again, and look into its log if it stays so"
        else:
            cause = f"gave an answer that can't be read ({type(error).__name__}); is it an OpenAI-compatible server?"
        return ProviderError(self.name, f"The model provider {self.name!r} {cause}.")


async def _next(iterator: AsyncIterator[ChatCompletionChunk], deadline: float) -> ChatCompletionChunk | None:
    """The next chunk, or None at the end. Raises TimeoutError at ``deadline`` (seconds on the loop's clock)."""
    async with asyncio.timeout_at(deadline):
        return await anext(iterator, None)


def _is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname)
