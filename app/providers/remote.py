"""What all answerers over the network share: the prompt, its budget, the deadline, and failures in our own words."""

from __future__ import annotations

import asyncio
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import urlsplit

from app.answer.budget import fit, size_of
from app.answer.prompt import DESCRIBE, DESCRIBE_TASK, messages
from app.errors import ConfigurationError, PromptTooLongError, ProviderError, UnsupportedMediaTypeError
from app.providers.protocols import AnswerDelta, AnswerRequest, Completion, Instruction, Usage

CONNECT_TIMEOUT_S = 5.0
DESCRIPTION_TOKENS = 1024
# What all of them take.
IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})
# A prompt that a server refuses for its length is sent again with this share of it, so many times.
SMALLER = 0.6
TRIES = 4
UNREACHABLE = 0
TOO_LONG = 413
_KEY = "refused the key; check {names.key} and what it may use"
_BUDGET = "has reached its rate limit or its budget; try again later, or raise the account's limit"
_REJECTED = "rejected the request (HTTP {status}); {model} may take other parameters: choose another {names.model}"
_FAILED = "failed (HTTP {status}); try again, and look into its log if it stays so"
_CAUSES = {
    UNREACHABLE: "can't be reached, or closed the connection; check {names.address}, and the server",
    401: _KEY,
    402: _BUDGET,
    403: _KEY,
    404: "knows no model {model} at this address; check {names.model} and {names.address}",
    408: "was not done within {timeout:g} s; it may be overloaded or unreachable, or PROVIDER_TIMEOUT too short",
    TOO_LONG: (
        "rejected the request: question and passages exceed the context of {model}; ask more briefly, lower top_k, or "
        "choose another {names.model}"
    ),
    429: _BUDGET,
}
# With another question or another model it might have answered.
_OF_REQUEST = frozenset({400, 404, TOO_LONG, 422})


def new_nonce() -> str:
    """64 random bits: what no document can hold."""
    return secrets.token_hex(8)


@dataclass(frozen=True, slots=True)
class Image:
    """An image as bytes of one of ``IMAGE_TYPES``."""

    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the model is told, and how many tokens it may write."""

    system: str
    user: str
    max_tokens: int
    image: Image | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """``timeout_s`` is for the whole answer, ``context_tokens`` for prompt and answer together."""

    timeout_s: float
    context_tokens: int
    retries: int = 1


@dataclass(frozen=True, slots=True)
class SettingNames:
    """What the operator has to look at: the variables for the key, the model and the address."""

    key: str
    model: str
    address: str


class BrokenOffError(Exception):
    """The stream ended without the sign of its end. ``wrote_nothing``: it had one, but there was no text."""

    def __init__(self, *, wrote_nothing: bool = False) -> None:
        super().__init__()
        self.wrote_nothing = wrote_nothing


class RemoteAnswerer(ABC):
    """One model of one server. A subclass speaks the server's protocol through its official client."""

    names: ClassVar[SettingNames]
    # The client's own errors: whatever else comes out of it is a bug.
    errors: ClassVar[tuple[type[Exception], ...]]

    def __init__(self, name: str, model: str, limits: Limits, nonce: Callable[[], str]) -> None:
        self.name = name
        self.model = model
        self._limits = limits
        self._nonce = nonce

    async def stream(self, request: AnswerRequest) -> AsyncIterator[AnswerDelta]:
        """Yield the answer as it is written; closing the iterator closes the connection, which stops the server.

        Raises:
            ProviderError: the server refused, failed, broke off or was not done in time.
        """
        deadline = self._deadline()
        context = self._limits.context_tokens
        for left in reversed(range(TRIES)):
            fitting = fit(request, context)
            system, user = messages(fitting, self._nonce())
            try:
                async with aclosing(self._told(Exchange(system, user, request.max_tokens), deadline)) as deltas:
                    async for delta in deltas:
                        yield delta
            except PromptTooLongError:
                if not fitting.passages or not left:
                    raise
                context = int(size_of(fitting) * SMALLER)
            else:
                return

    async def complete(self, instruction: Instruction) -> Completion | None:
        """What the model writes; cancelling stops the server. Raises ProviderError."""
        return await self._whole(Exchange(instruction.system, instruction.user, instruction.max_tokens))

    async def describe(self, image: bytes, media_type: str) -> Completion:
        """What is to be seen and read in the image.

        Raises:
            UnsupportedMediaTypeError: the type is none of ``IMAGE_TYPES``. ProviderError: the server failed.
        """
        if media_type not in IMAGE_TYPES:
            known = ", ".join(sorted(IMAGE_TYPES))
            raise UnsupportedMediaTypeError(
                f"No model reads images of type {media_type}; convert it to one of {known}."
            )
        return await self._whole(Exchange(DESCRIBE, DESCRIBE_TASK, DESCRIPTION_TOKENS, Image(image, media_type)))

    @abstractmethod
    async def close(self) -> None:
        """Close the connections."""

    @abstractmethod
    def _ask(self, exchange: Exchange) -> AsyncGenerator[AnswerDelta, None]:
        """Yield what the server sends; raises the client's errors, or BrokenOffError."""

    @abstractmethod
    def _status(self, error: Exception) -> int | None:
        """The HTTP status that the error stands for, also when it came within a stream; None when it has none.

        ``TOO_LONG`` stands for a prompt that is too long, 408 for a time limit, ``UNREACHABLE`` for no connection.
        """

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._limits.timeout_s

    async def _whole(self, exchange: Exchange) -> Completion:
        text, usage = "", Usage()
        async with aclosing(self._told(exchange, self._deadline())) as deltas:
            async for delta in deltas:
                text += delta.text
                usage = delta.usage or usage
        return Completion(text.strip(), usage)

    async def _told(self, exchange: Exchange, deadline: float) -> AsyncGenerator[AnswerDelta, None]:
        """What the server sends until ``deadline``, seconds on the event loop's clock. Raises ProviderError."""
        try:
            async with aclosing(self._ask(exchange)) as deltas:
                while True:
                    async with asyncio.timeout_at(deadline):
                        delta = await anext(deltas, None)
                    if delta is None:
                        return
                    yield delta
        except Exception as error:
            # ValueError: the clients let errors of JSON through as they are.
            if not isinstance(error, (TimeoutError, BrokenOffError, ValueError, *self.errors)):
                raise
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> ProviderError:
        """Cause and cure in our own words: a server's message may hold the key or parts of the documents."""
        names, model = self.names, repr(self.model)
        status = 408 if isinstance(error, TimeoutError) else self._status(error)
        if isinstance(error, BrokenOffError) and error.wrote_nothing:
            cause = (
                f"used up its tokens without a word of answer; raise ANSWER_MAX_TOKENS or choose another {names.model}"
            )
        elif isinstance(error, BrokenOffError):
            cause = f"broke off its answer, or speaks another protocol; check {names.address}, and the server's log"
        elif status is None:
            cause = f"gave an answer that can't be read ({type(error).__name__}); check {names.address}"
        else:
            cause = _CAUSES.get(status, _REJECTED if status < 500 else _FAILED).format(
                status=status, timeout=self._limits.timeout_s, model=model, names=names
            )
        detail = f"The model provider {self.name!r} {cause}."
        if status == TOO_LONG:
            return PromptTooLongError(self.name, detail)
        return ProviderError(self.name, detail, of_request=status in _OF_REQUEST)


def checked_url(address: str, variable: str, example: str) -> str:
    """The address as it is. Raises ConfigurationError when it is no URL."""
    try:
        parts = urlsplit(address)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        good = False
    if not good:
        raise ConfigurationError(f"The address of the model server is not a URL: {variable} looks like {example}.")
    return address
