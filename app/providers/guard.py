"""One provider, watched: its circuit breaker, the time to its first word, its tokens and what they cost."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace

import structlog

from app.errors import ProviderError
from app.providers.breaker import Breaker, Permit
from app.providers.prices import Prices
from app.providers.protocols import (
    AnswerDelta,
    Answerer,
    AnswerRequest,
    Author,
    Completion,
    ImageDescriber,
    Instruction,
    Usage,
)
from app.telemetry.metrics import Metrics
from app.telemetry.traces import Kind, Recording, span

log = structlog.get_logger(__name__)
# Providers that OpenTelemetry's conventions call otherwise.
_CONVENTIONAL = {"gemini": "gcp.gemini"}


class GuardedAnswerer:
    """An answerer that is left alone while its circuit is open, and whose every use is counted."""

    def __init__(
        self,
        answerer: Answerer,
        breaker: Breaker,
        prices: Prices,
        metrics: Metrics,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.name = answerer.name
        self.model = answerer.model
        self.breaker = breaker
        self._answerer = answerer
        self._prices = prices
        self._metrics = metrics
        self._clock = clock
        self._author = Author(answerer.name, answerer.model)

    def stream(self, request: AnswerRequest) -> AsyncIterator[AnswerDelta]:
        """Yield the answer. Raises ProviderError; at once while the circuit is open."""
        return self.stream_within(request, None)

    async def stream_within(
        self, request: AnswerRequest, patience_s: float | None
    ) -> AsyncGenerator[AnswerDelta, None]:
        """``stream``, failing when nothing has been written after ``patience_s``."""
        with self._span(request.max_tokens) as own:
            async for delta in self._streamed(request, patience_s, own):
                yield delta

    async def _streamed(
        self, request: AnswerRequest, patience_s: float | None, own: Recording
    ) -> AsyncGenerator[AnswerDelta, None]:
        permit = self._enter()
        began = self._clock()
        wrote = False
        used: Usage | None = None
        try:
            async with aclosing(self._begun(request, patience_s)) as deltas:
                async for delta in deltas:
                    if delta.text and not wrote:
                        wrote = True
                        waited = self._clock() - began
                        self._metrics.first_token_seconds.labels(self.name).observe(waited)
                        own.set({"gen_ai.response.time_to_first_chunk": waited})
                    usage = self._priced(delta.usage)
                    used = usage or used
                    yield replace(delta, usage=usage, author=self._author)
        except ProviderError as error:
            self._failed(permit, error)
            raise
        except BaseException:
            # The reader went away, or this is a bug: either says nothing about the provider unless it wrote.
            self._ended(permit, "abandoned", good=True if wrote else None)
            raise
        else:
            self._ended(permit, "answered", good=True)
        finally:
            # Once, and also for an answer that was not read to its end: some servers tell the sum with each piece.
            self._count(used, own)

    async def complete(self, instruction: Instruction) -> Completion | None:
        """What the model writes, or None when there is no model. Raises ProviderError."""
        return await self._asked(lambda: self._answerer.complete(instruction), instruction.max_tokens)

    async def describe(self, image: bytes, media_type: str) -> Completion:
        """What is to be seen in the image. Raises ProviderError or UnsupportedMediaTypeError."""
        describer: ImageDescriber = self._answerer  # type: ignore[assignment]  # the registry sees to it
        completion = await self._asked(lambda: describer.describe(image, media_type))
        if completion is None:
            raise TypeError(f"{self.name} describes no images")
        return completion

    async def close(self) -> None:
        """Close the answerer."""
        await self._answerer.close()

    async def _begun(self, request: AnswerRequest, patience_s: float | None) -> AsyncGenerator[AnswerDelta, None]:
        stream = aiter(self._answerer.stream(request))
        try:
            try:
                async with asyncio.timeout(patience_s):
                    first = await anext(stream, None)
            except TimeoutError as error:
                raise ProviderError(
                    self.name,
                    f"The model provider {self.name!r} did not begin its answer within {patience_s:g} s "
                    "(PROVIDER_FIRST_TOKEN_TIMEOUT).",
                ) from error
            if first is None:
                return
            yield first
            async for delta in stream:
                yield delta
        finally:
            if isinstance(stream, AsyncGenerator):
                await stream.aclose()

    async def _asked(
        self, ask: Callable[[], Awaitable[Completion | None]], max_tokens: int | None = None
    ) -> Completion | None:
        with self._span(max_tokens) as own:
            return await self._completed(ask, own)

    async def _completed(self, ask: Callable[[], Awaitable[Completion | None]], own: Recording) -> Completion | None:
        permit = self._enter()
        try:
            completion = await ask()
        except ProviderError as error:
            self._failed(permit, error)
            raise
        except BaseException:
            self._ended(permit, "abandoned", good=None)
            raise
        self._ended(permit, "answered", good=True)
        usage = self._priced(completion.usage) if completion is not None else None
        self._count(usage, own)
        return replace(completion, usage=usage) if completion is not None and usage is not None else None

    def _span(self, max_tokens: int | None) -> Recording:
        """By OpenTelemetry's conventions for generative models, but for what was said: that is not told."""
        made = span(f"chat {self.model}", Kind.CLIENT)
        made.set(
            {
                "gen_ai.operation.name": "chat",
                "gen_ai.provider.name": _CONVENTIONAL.get(self.name, self.name),
                "gen_ai.request.model": self.model,
                "gen_ai.request.max_tokens": max_tokens,
            }
        )
        return made

    def _enter(self) -> Permit:
        permit = self.breaker.enter()
        if permit is None:
            self._metrics.provider_requests.labels(self.name, "refused").inc()
            wait = max(1, math.ceil(self.breaker.rest_s))
            raise ProviderError(
                self.name, f"The model provider {self.name!r} failed repeatedly and is left alone for {wait} s.", wait
            )
        return permit

    def _failed(self, permit: Permit, error: ProviderError) -> None:
        log.warning("provider.failed", provider=self.name, model=self.model, detail=error.detail)
        self._ended(permit, "rejected" if error.of_request else "failed", good=None if error.of_request else False)

    def _ended(self, permit: Permit, outcome: str, *, good: bool | None) -> None:
        self._metrics.provider_requests.labels(self.name, outcome).inc()
        if good is None:
            permit.released()
        elif good:
            permit.succeeded()
        else:
            permit.failed()

    def _priced(self, used: Usage | None) -> Usage | None:
        return None if used is None else self._prices.priced(self.name, self.model, used)

    def _count(self, usage: Usage | None, own: Recording) -> None:
        if usage is None:
            return
        own.set(
            {
                "gen_ai.usage.input_tokens": usage.prompt_tokens,
                "gen_ai.usage.output_tokens": usage.completion_tokens,
                "anchorage.cost_usd": usage.cost_usd,
            }
        )
        model = self._metrics.model(self.model)
        for kind, tokens in (("prompt", usage.prompt_tokens), ("completion", usage.completion_tokens)):
            self._metrics.tokens.labels(self.name, model, kind).inc(tokens)
        self._metrics.cost_usd.labels(self.name, model).inc(usage.cost_usd)
        if not usage.priced:
            self._metrics.unpriced_answers.labels(self.name, model).inc()
