"""Providers in order: real clients, and loopback servers that fail in each way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from app.errors import ProviderError
from app.providers.breaker import Circuit
from app.providers.protocols import AnswerRequest, Author, Instruction, Usage
from app.providers.registry import Answerers
from app.settings import Settings
from app.telemetry.metrics import Metrics
from tests.unit.providers.conftest import HARBOUR
from tests.unit.providers.test_anthropic import ANSWER as ANTHROPIC_ANSWER
from tests.unit.providers.test_openai import HELLO, STREAM
from tests.unit.providers.wire import WireServer, json_response, wire_server

REQUEST = AnswerRequest("What does a berth cost?", [HARBOUR], max_tokens=24)
OVERLOADED = json_response("503 Service Unavailable", {"error": {"message": "later"}})
REJECTED = json_response("400 Bad Request", {"error": {"message": "no"}})
FINISHED = STREAM + HELLO.replace(b'"finish_reason":null', b'"finish_reason":"stop"') + b"data: [DONE]\n\n"
USED = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],'
    b'"usage":{"prompt_tokens":1000,"completion_tokens":10,"total_tokens":1010}}\n\n'
)
COUNTED = FINISHED.replace(b"data: [DONE]", USED + b"data: [DONE]")


@dataclass
class Two:
    """OpenAI before Anthropic before extractive, each server with its own script, and a clock."""

    answerers: Answerers
    metrics: Metrics
    first: WireServer
    second: WireServer
    now: list[float] = field(default_factory=lambda: [0.0])

    async def ask(self, name: str | None = None) -> tuple[str, set[Author | None], Usage | None]:
        text, authors, usage = "", set(), None
        async with aclosing(self.answerers.get(name).stream(REQUEST)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                text += delta.text
                authors.add(delta.author)
                usage = delta.usage or usage
        return text, authors, usage

    def value(self, name: str, **labels: str) -> float:
        return self.metrics.registry.get_sample_value(f"test_{name}", labels) or 0.0


@asynccontextmanager
async def two(
    first: bytes, second: bytes = ANTHROPIC_ANSWER, *, hold: bool = False, **values: Any
) -> AsyncIterator[Two]:
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(wire_server(first, hold=hold))
        other = await stack.enter_async_context(wire_server(second))
        now = [0.0]
        metrics = Metrics("test")
        fields: dict[str, Any] = {
            "providers": "openai,anthropic,extractive",
            "openai_base_url": f"{one.url}/v1",
            "anthropic_api_key": "sk-ant",
            "anthropic_base_url": other.url,
            "provider_retries": 0,
            "provider_failures": 2,
        }
        settings = Settings(**{**fields, **values})
        answerers = Answerers(settings, metrics, lambda: now[0])
        stack.push_async_callback(answerers.close)
        yield Two(answerers, metrics, one, other, now)


@pytest.mark.parametrize("answer", [COUNTED, COUNTED.replace(USED, USED * 3)], ids=["at the end", "again and again"])
async def test_who_answered_is_told_and_counted_once_with_its_price(answer: bytes) -> None:
    async with two(answer) as both:
        text, authors, usage = await both.ask()
        assert (text, authors) == ("Hello", {Author("openai", "gpt-4o-mini")})
        assert usage is not None
        assert (usage.prompt_tokens, usage.completion_tokens, usage.priced) == (1000, 10, True)
        assert usage.cost_usd == pytest.approx(0.000156)
        assert not both.second.bodies
        labels = {"provider": "openai", "model": "gpt-4o-mini"}
        assert both.value("tokens_total", kind="prompt", **labels) == 1000
        assert both.value("tokens_total", kind="completion", **labels) == 10
        assert both.value("cost_usd_total", **labels) == pytest.approx(0.000156)
        assert both.value("provider_first_token_seconds_count", provider="openai") == 1
        assert both.value("provider_requests_total", provider="openai", outcome="answered") == 1


@pytest.mark.parametrize("failure", [OVERLOADED, REJECTED, STREAM, b""])
async def test_the_next_one_answers_when_the_first_fails_before_its_first_word(failure: bytes) -> None:
    async with two(failure) as both:
        text, authors, _ = await both.ask()
        assert text == "A berth costs 34 euros [1]."
        assert authors == {Author("anthropic", "claude-haiku-4-5")}


async def test_the_last_one_answers_when_all_servers_are_away() -> None:
    async with two(OVERLOADED, OVERLOADED) as both:
        text, authors, usage = await both.ask()
        assert "34 euros" in text
        assert (authors, usage) == ({Author("extractive", "sentences-3")}, Usage())


async def test_a_server_that_does_not_begin_is_not_waited_for() -> None:
    async with two(STREAM, hold=True, provider_first_token_timeout=0.2) as both:
        start = time.perf_counter()
        _, authors, _ = await both.ask()
        assert authors == {Author("anthropic", "claude-haiku-4-5")}
        assert time.perf_counter() - start < 5
        await asyncio.wait_for(both.first.left.wait(), 3)


async def test_after_the_first_word_there_is_no_way_back() -> None:
    async with two(STREAM + HELLO) as both:
        deltas = aiter(both.answerers.get(None).stream(REQUEST))
        assert (await anext(deltas)).text == "Hello"
        with pytest.raises(ProviderError, match="broke off"):
            await anext(deltas)
        assert not both.second.bodies


async def test_a_provider_that_was_named_has_no_fallback() -> None:
    async with two(OVERLOADED) as both:
        with pytest.raises(ProviderError, match="HTTP 503"):
            await both.ask("openai")
        assert not both.second.bodies


async def test_when_all_fail_each_is_named_under_the_first_ones_name() -> None:
    async with two(OVERLOADED, OVERLOADED, providers="openai,anthropic") as both:
        with pytest.raises(ProviderError, match=r"'openai' failed.*'anthropic' failed") as caught:
            await both.ask()
        assert caught.value.dependency == "openai"


async def test_one_that_keeps_failing_is_left_alone_until_it_is_back() -> None:
    async with two(OVERLOADED) as both:
        chain = both.answerers.get(None)
        for _ in range(5):
            await both.ask()
        assert len(both.first.bodies) == 2
        assert both.answerers.circuits()["openai"] is Circuit.OPEN
        assert chain.name == "anthropic"
        assert both.value("provider_circuit_state", provider="openai") == 2
        assert both.value("provider_requests_total", provider="openai", outcome="refused") == 3
        with pytest.raises(ProviderError, match="left alone for 30 s") as caught:
            await both.ask("openai")
        assert caught.value.retry_after_s == 30
        both.now[0] = 30.0
        await both.ask()
        assert len(both.first.bodies) == 3
        assert chain.name == "anthropic"


async def test_a_question_that_can_not_be_answered_leaves_the_circuit_closed() -> None:
    """Else anyone with a key could shut a provider for all."""
    async with two(REJECTED) as both:
        for _ in range(5):
            await both.ask()
        assert len(both.first.bodies) == 5
        assert both.answerers.circuits()["openai"] is Circuit.CLOSED
        assert both.value("provider_requests_total", provider="openai", outcome="rejected") == 5


async def test_a_reader_who_leaves_stops_the_provider_and_blames_nobody() -> None:
    async with two(STREAM + HELLO, hold=True) as both:
        async with aclosing(both.answerers.get(None).stream(REQUEST)) as deltas:  # type: ignore[type-var]
            assert (await anext(deltas)).text == "Hello"
        await asyncio.wait_for(both.first.left.wait(), 3)
        assert both.value("provider_requests_total", provider="openai", outcome="abandoned") == 1
        assert both.answerers.circuits()["openai"] is Circuit.CLOSED
        assert not both.second.bodies


async def test_instructions_fall_back_too_and_end_where_there_is_no_model() -> None:
    task = Instruction("Rewrite.", "And in winter?")
    async with two(OVERLOADED) as both:
        done = await both.answerers.get(None).complete(task)
        assert done is not None
        assert done.usage.cost_usd == pytest.approx((125 * 1 + 15 * 5) / 1e6)
    async with two(OVERLOADED, OVERLOADED) as both:
        assert await both.answerers.get(None).complete(task) is None
    async with two(OVERLOADED, OVERLOADED, providers="openai,anthropic") as both:
        with pytest.raises(ProviderError, match=r"'openai'.*'anthropic'"):
            await both.answerers.get(None).complete(task)
