"""Anthropic's provider over a loopback server that sends the shapes of the Messages API's documentation."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any

import pytest

from app.errors import ConfigurationError, PromptTooLongError, ProviderError
from app.providers.anthropic import AnthropicAnswerer
from app.providers.protocols import AnswerRequest, Instruction, SourcePassage, Usage
from app.providers.remote import Limits
from tests.unit.providers.conftest import HARBOUR, WEATHER, collect
from tests.unit.providers.wire import event_stream, json_response, wire_server

SECRET = "sk-ant-very-secret-key-0123456789"
REQUEST = AnswerRequest("What does a berth cost?", [HARBOUR, WEATHER], max_tokens=24)


def message(**fields: Any) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-haiku-4-5",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 25, "output_tokens": 1, "cache_read_input_tokens": 100},
        **fields,
    }


START = ("message_start", {"type": "message_start", "message": message()})
BLOCK = (
    "content_block_start",
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
)
PING = ("ping", {"type": "ping"})
BLOCK_STOP = ("content_block_stop", {"type": "content_block_stop", "index": 0})
STOP = ("message_stop", {"type": "message_stop"})


def said(text: str) -> tuple[str, Any]:
    delta = {"type": "text_delta", "text": text}
    return ("content_block_delta", {"type": "content_block_delta", "index": 0, "delta": delta})


def ended(reason: str, tokens: int) -> tuple[str, Any]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return ("message_delta", {"type": "message_delta", "delta": delta, "usage": {"output_tokens": tokens}})


def failed(kind: str, words: str = "no") -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": words}, "request_id": "req_1"}


ANSWER = event_stream(
    START, BLOCK, PING, said("A berth costs "), said("34 euros [1]."), BLOCK_STOP, ended("end_turn", 15), STOP
)


def answerer(url: str, timeout_s: float = 60) -> AnthropicAnswerer:
    limits = Limits(timeout_s, 200_000)
    return AnthropicAnswerer(
        model="claude-haiku-4-5", api_key=SECRET, base_url=url, limits=limits, nonce=lambda: "n0nce"
    )


async def failure_of(response: bytes, *, hold: bool = False, timeout_s: float = 60) -> ProviderError:
    async with wire_server(response, hold=hold) as server:
        provider = answerer(server.url, timeout_s)
        with pytest.raises(ProviderError) as caught:
            await collect(provider, REQUEST)
        await provider.close()
    assert caught.value.dependency == "anthropic"
    assert SECRET not in caught.value.detail
    return caught.value


async def test_the_answer_is_streamed_and_all_tokens_are_counted() -> None:
    async with wire_server(ANSWER) as server:
        provider = answerer(server.url)
        pieces, usage = await collect(provider, REQUEST)
        await provider.close()
    assert pieces == ["A berth costs ", "34 euros [1].", ""]
    assert usage == Usage(125, 15)
    (asked,) = server.bodies
    assert server.paths == ["/v1/messages"]
    assert SECRET in server.heads[0]
    assert (asked["model"], asked["max_tokens"], asked["stream"]) == ("claude-haiku-4-5", 24, True)
    assert "n0nce" in asked["system"]
    assert asked["messages"][0]["content"].endswith("Question: What does a berth cost?")


async def test_it_does_what_an_instruction_says_and_describes_images() -> None:
    async with wire_server(ANSWER) as server:
        provider = answerer(server.url)
        done = await provider.complete(Instruction("Be brief.", "Rewrite this.", max_tokens=9))
        seen = await provider.describe(b"\xff\xd8\xff", "image/jpeg")
        await provider.close()
    assert done is not None
    assert (done.text, done.usage) == ("A berth costs 34 euros [1].", Usage(125, 15))
    assert seen.text == done.text
    instructed, shown = server.bodies
    assert (instructed["system"], instructed["max_tokens"]) == ("Be brief.", 9)
    assert shown["messages"][0]["content"][0] == {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/jpeg", "data": "/9j/"},
    }


@pytest.mark.parametrize(
    ("response", "words", "of_request"),
    [
        (
            json_response("401 Unauthorized", failed("authentication_error", f"bad {SECRET}")),
            "ANTHROPIC_API_KEY",
            False,
        ),
        (json_response("403 Forbidden", failed("permission_error")), "ANTHROPIC_API_KEY", False),
        (json_response("404 Not Found", failed("not_found_error")), "no model 'claude-haiku-4-5'", True),
        (json_response("400 Bad Request", failed("invalid_request_error")), "HTTP 400", True),
        (json_response("429 Too Many Requests", failed("rate_limit_error")), "rate limit", False),
        (json_response("500 Internal Server Error", failed("api_error")), "HTTP 500", False),
        (json_response("529 Overloaded", failed("overloaded_error")), "HTTP 529", False),
        (event_stream(START, BLOCK, said("A"), ("error", failed("overloaded_error"))), "HTTP 529", False),
        (event_stream(START, ("error", failed("rate_limit_error"))), "rate limit", False),
        (event_stream(START, BLOCK, said("A berth")), "broke off", False),
        (event_stream(START, BLOCK, said("A berth"), BLOCK_STOP, ended("end_turn", 2)), "broke off", False),
        (event_stream(START, BLOCK_STOP, ended("max_tokens", 24), STOP), "ANSWER_MAX_TOKENS", False),
        (event_stream(START) + b"event: content_block_delta\ndata: {nope\n\n", "can't be read", False),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>", "protocol", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nevent", "closed the connection", False),
    ],
)
async def test_each_failure_names_its_cause_and_never_the_key(response: bytes, words: str, of_request: bool) -> None:
    error = await failure_of(response)
    assert words in error.detail
    assert error.of_request is of_request


async def test_what_may_pass_is_tried_again() -> None:
    async with wire_server(json_response("529 Overloaded", failed("overloaded_error")), ANSWER) as server:
        provider = answerer(server.url)
        assert "34 euros" in "".join((await collect(provider, REQUEST))[0])
        await provider.close()
    assert len(server.bodies) == 2


async def test_a_prompt_that_is_too_long_is_sent_again_with_fewer_passages() -> None:
    refusal = failed("invalid_request_error", "prompt is too long: 208310 tokens > 200000 maximum")
    pages = [SourcePassage(n, "Tides", f"Page {n} tells of tides. " * 40, 0.1) for n in range(2, 9)]
    async with wire_server(json_response("400 Bad Request", refusal), ANSWER) as server:
        provider = answerer(server.url)
        await collect(provider, AnswerRequest("What does a berth cost?", [HARBOUR, *pages]))
        await provider.close()
    first, second = (body["messages"][0]["content"] for body in server.bodies)
    assert len(second) < 0.75 * len(first)
    assert HARBOUR.text in second
    async with wire_server(json_response("400 Bad Request", refusal)) as server:
        provider = answerer(server.url)
        with pytest.raises(PromptTooLongError, match="ANTHROPIC_MODEL"):
            await collect(provider, REQUEST)
        await provider.close()


async def test_the_time_limit_holds_for_the_whole_answer() -> None:
    start = time.perf_counter()
    error = await failure_of(event_stream(START, BLOCK, said("A")), hold=True, timeout_s=0.4)
    assert "PROVIDER_TIMEOUT" in error.detail
    assert time.perf_counter() - start < 3


@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_a_reader_who_leaves_closes_the_connection(way: str) -> None:
    async with wire_server(event_stream(START, BLOCK, said("A")), hold=True) as server:
        provider = answerer(server.url)

        async def read() -> None:
            async with aclosing(provider.stream(REQUEST)) as deltas:  # type: ignore[type-var]
                assert (await anext(deltas)).text == "A"
                if way == "cancel":
                    await anext(deltas)

        reading = asyncio.create_task(read())
        if way == "cancel":
            await asyncio.sleep(0.3)
            reading.cancel()
        await asyncio.wait_for(server.left.wait(), 3)
        await asyncio.gather(reading, return_exceptions=True)
        await provider.close()


def test_an_address_that_is_no_url_is_a_configuration_error() -> None:
    with pytest.raises(ConfigurationError, match="ANTHROPIC_BASE_URL"):
        answerer("models.example")
