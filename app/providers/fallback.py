"""Several providers as one: the next one is asked when one fails before its first word."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import structlog

from app.errors import ProviderError
from app.providers.guard import GuardedAnswerer
from app.providers.protocols import AnswerDelta, AnswerRequest, Completion, Instruction

log = structlog.get_logger(__name__)


class FallbackAnswerer:
    """Asks in order; after the first word went out there is no way back, and a failure is told."""

    def __init__(self, answerers: Sequence[GuardedAnswerer], first_token_s: float) -> None:
        """``first_token_s``: how long each but the last may take to begin."""
        self._answerers = list(answerers)
        self._first_token_s = first_token_s

    @property
    def name(self) -> str:
        """The provider that would be asked first now; each delta's ``author`` says who was."""
        return self._first.name

    @property
    def model(self) -> str:
        return self._first.model

    @property
    def _first(self) -> GuardedAnswerer:
        return next((one for one in self._answerers if one.breaker.admits), self._answerers[0])

    async def stream(self, request: AnswerRequest) -> AsyncGenerator[AnswerDelta, None]:
        """Yield the answer of the first provider that begins one.

        Raises:
            ProviderError: all failed, and each is named; or one failed after it had begun.
        """
        failures: list[ProviderError] = []
        for answerer in self._answerers:
            last = answerer is self._answerers[-1]
            began = False
            try:
                async with aclosing(answerer.stream_within(request, None if last else self._first_token_s)) as deltas:
                    async for delta in deltas:
                        began = began or bool(delta.text)
                        yield delta
            except ProviderError as error:
                if began:
                    raise
                failures.append(error)
                log.warning("provider.fallback", failed=answerer.name, detail=error.detail)
            else:
                return
        raise _all_of(failures)

    async def complete(self, instruction: Instruction) -> Completion | None:
        """What the first provider that does not fail writes; None when that one has no model. Raises ProviderError."""
        failures: list[ProviderError] = []
        for answerer in self._answerers:
            try:
                return await answerer.complete(instruction)
            except ProviderError as error:
                failures.append(error)
        raise _all_of(failures)

    async def close(self) -> None:
        """Nothing of its own is held: whoever made the answerers closes them."""


def _all_of(failures: Sequence[ProviderError]) -> ProviderError:
    """One error for all, under the name of the provider that was to answer."""
    first = failures[0]
    if len(failures) == 1:
        return first
    return ProviderError(
        first.dependency,
        " ".join(failure.detail for failure in failures),
        min(failure.retry_after_s for failure in failures),
        of_request=all(failure.of_request for failure in failures),
    )
