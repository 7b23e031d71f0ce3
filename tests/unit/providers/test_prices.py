"""What tokens cost."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from app.providers.prices import Prices
from app.providers.protocols import Usage
from app.settings import ModelPrice, Settings

USED = Usage(2_000_000, 500_000)


@pytest.mark.parametrize(
    ("provider", "model", "cost", "priced"),
    [
        ("openai", "gpt-4o-mini", 0.6, True),
        ("openai", "gpt-4o-mini-2024-07-18", 0.6, True),
        ("anthropic", "claude-haiku-4-5-20251001", 4.5, True),
        ("openai", "house-model", 0.0, False),
        ("local", "SmolLM2-135M", 0.0, True),
        ("extractive", "sentences-3", 0.0, True),
        ("ollama", "llama3.2", 0.0, True),
    ],
)
def test_a_model_costs_what_the_table_says_and_an_unknown_one_says_so(
    provider: str, model: str, cost: float, priced: bool
) -> None:
    usage = Prices({}).priced(provider, model, USED)
    assert (usage.prompt_tokens, usage.completion_tokens, usage.priced) == (2_000_000, 500_000, priced)
    assert usage.cost_usd == pytest.approx(cost)


def test_the_operators_prices_go_over_the_table() -> None:
    own = {"gpt-4o-mini": ModelPrice(input=1, output=2), "house-model": ModelPrice(input=0.1)}
    assert Prices(own).priced("openai", "gpt-4o-mini", USED).cost_usd == pytest.approx(3)
    priced = Prices(own).priced("openai", "house-model", USED)
    assert priced.cost_usd == pytest.approx(0.2)
    assert priced.priced


def test_they_are_written_as_json_or_in_a_file(tmp_path: Path) -> None:
    text = '{"house-model": {"input": 0.1, "output": 0.4}}'
    (tmp_path / "prices.json").write_text(text)
    for value in (text, str(tmp_path / "prices.json")):
        assert Settings(model_prices=value).model_prices == {"house-model": ModelPrice(input=0.1, output=0.4)}


@pytest.mark.parametrize("value", ["{nope", "no/such/file.json", '{"m": {"input": -1}}', '{"m": {"price": 1}}'])
def test_prices_that_can_not_be_read_stop_the_start(value: str) -> None:
    with pytest.raises(ValidationError, match="model_prices"):
        Settings(model_prices=value)
