"""What tokens cost: a table by model, over which the operator's own prices go."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace

from app.providers.protocols import Usage
from app.settings import AnswerProvider, ModelPrice

# As published tables had them in November 2026, for prompts of the usual length, without caching or batches: what is
# charged is on the provider's bill. MODEL_PRICES replaces them.
LIST_PRICES = {
    "gpt-4o": ModelPrice(input=2.5, output=10),
    "gpt-4o-mini": ModelPrice(input=0.15, output=0.6),
    "gpt-4.1": ModelPrice(input=2, output=8),
    "gpt-4.1-mini": ModelPrice(input=0.4, output=1.6),
    "gpt-4.1-nano": ModelPrice(input=0.1, output=0.4),
    "gpt-5": ModelPrice(input=1.25, output=10),
    "gpt-5-mini": ModelPrice(input=0.25, output=2),
    "gpt-5-nano": ModelPrice(input=0.05, output=0.4),
    "claude-haiku-4-5": ModelPrice(input=1, output=5),
    "claude-sonnet-4-5": ModelPrice(input=3, output=15),
    "claude-sonnet-5": ModelPrice(input=2, output=10),
    "claude-opus-5": ModelPrice(input=5, output=25),
    "gemini-2.5-flash": ModelPrice(input=0.3, output=2.5),
    "gemini-2.5-flash-lite": ModelPrice(input=0.1, output=0.4),
    "gemini-3.5-flash": ModelPrice(input=1.5, output=9),
    "gemini-3.5-flash-lite": ModelPrice(input=0.3, output=2.5),
    "text-embedding-3-small": ModelPrice(input=0.02),
    "text-embedding-3-large": ModelPrice(input=0.13),
    "gemini-embedding-001": ModelPrice(input=0.15),
}
# Their models run on one's own machines.
FREE = frozenset({AnswerProvider.LOCAL, AnswerProvider.EXTRACTIVE, AnswerProvider.OLLAMA})
# A snapshot costs what its model costs: gpt-4o-2024-11-20, claude-haiku-4-5-20251001.
_SNAPSHOT = re.compile(r"-(?:\d{8}|\d{4}-\d{2}-\d{2})$")


class Prices:
    """Looks a model up by its name, then without the date of its snapshot."""

    def __init__(self, own: Mapping[str, ModelPrice]) -> None:
        self._prices = {**LIST_PRICES, **own}

    def priced(self, provider: str, model: str, usage: Usage) -> Usage:
        """The usage with what it cost; of a model without a price 0, and ``priced`` says so."""
        price = self._prices.get(model) or self._prices.get(_SNAPSHOT.sub("", model))
        if price is None:
            return replace(usage, cost_usd=0.0, priced=provider in FREE)
        dollars = (usage.prompt_tokens * price.input + usage.completion_tokens * price.output) / 1e6
        return replace(usage, cost_usd=dollars, priced=True)
