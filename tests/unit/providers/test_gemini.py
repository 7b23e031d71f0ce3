"""Gemini's provider over a loopback server that sends the shapes of the Gemini API's documentation."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from typing import Any

import pytest

from app.errors import ConfigurationError, PromptTooLongError, ProviderError
from app.providers import gemini
from app.providers.gemini import GeminiAnswerer
from app.providers.protocols import AnswerRequest, Instruction, SourcePassage, Usage
from app.providers.remote import Limits
from tests.unit.providers.conftest import HARBOUR, WEATHER, collect
from tests.unit.providers.wire import event_stream, json_response, wire_server

SECRET = "AIzaVerySecretKey0123456789"
REQUEST = AnswerRequest("What does a berth cost?", [HARBOUR, WEATHER], max_tokens=24)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried at once."""
    monkeypatch.setattr(gemini, "FIRST_DELAY_S", 0.001)


def piece(text: str, finish: str | None = None, *, thought: bool = False, **fields: Any) -> tuple[None, Any]:
    part = {"text": text, "thought": True} if thought else {"text": text}
    candidate: dict[str, Any] = {"content": {"parts": [part], "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return (None, {"candidates": [candidate], "modelVersion": "gemini-3.5-flash-lite", "responseId": "r1", **fields})


def counted(prompt: int, written: int, thought: int) -> dict[str, Any]:
    return {
        "usageMetadata": {
            "promptTokenCount": prompt,
            "candidatesTokenCount": written,
            "thoughtsTokenCount": thought,
            "totalTokenCount": prompt + written + thought,
        }
    }


def failed(code: int, status: str, words: str = "no") -> dict[str, Any]:
    return {"error": {"code": code, "status": status, "message": words}}


ANSWER = event_stream(
    piece("Let me see.", thought=True),
    piece("A berth costs "),
    piece("34 euros [1].", "STOP", **counted(125, 12, 3)),
)


def answerer(url: str, timeout_s: float = 60) -> GeminiAnswerer:
    limits = Limits(timeout_s, 1_000_000)
    return GeminiAnswerer(
        model="gemini-3.5-flash-lite", api_key=SECRET, base_url=url, limits=limits, nonce=lambda: "n0nce"
    )


async def failure_of(response: bytes, *, hold: bool = False, timeout_s: float = 60) -> ProviderError:
    async with wire_server(response, hold=hold) as server:
        provider = answerer(server.url, timeout_s)
        with pytest.raises(ProviderError) as caught:
            await collect(provider, REQUEST)
        await provider.close()
    assert caught.value.dependency == "gemini"
    assert SECRET not in caught.value.detail
    return caught.value


async def test_the_answer_is_streamed_without_its_thoughts_which_are_counted() -> None:
    async with wire_server(ANSWER) as server:
        provider = answerer(server.url)
        pieces, usage = await collect(provider, REQUEST)
        await provider.close()
    assert pieces == ["A berth costs ", "34 euros [1].", ""]
    assert usage == Usage(125, 15)
    (asked,) = server.bodies
    assert server.paths == ["/v1/models/gemini-3.5-flash-lite:streamGenerateContent?alt=sse"]
    assert f"x-goog-api-key: {SECRET}" in server.heads[0]
    assert "n0nce" in asked["systemInstruction"]["parts"][0]["text"]
    assert asked["generationConfig"]["maxOutputTokens"] == 24
    assert asked["contents"][0]["parts"][0]["text"].endswith("Question: What does a berth cost?")


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
    assert instructed["systemInstruction"]["parts"][0]["text"] == "Be brief."
    images = [part for content in shown["contents"] for part in content["parts"] if "inlineData" in part]
    assert images == [{"inlineData": {"data": "_9j_", "mime_type": "image/jpeg"}}]


async def test_a_prompt_that_it_blocks_is_an_answer_that_says_nothing() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY"}, **counted(20, 0, 0)}
    async with wire_server(event_stream((None, blocked))) as server:
        provider = answerer(server.url)
        pieces, usage = await collect(provider, REQUEST)
        await provider.close()
    assert (pieces, usage) == ([""], Usage(20, 0))


@pytest.mark.parametrize(
    ("response", "words", "of_request"),
    [
        (
            json_response("400 Bad Request", failed(400, "INVALID_ARGUMENT", "API key not valid.")),
            "GEMINI_API_KEY",
            False,
        ),
        (json_response("403 Forbidden", failed(403, "PERMISSION_DENIED", SECRET)), "GEMINI_API_KEY", False),
        (json_response("404 Not Found", failed(404, "NOT_FOUND")), "no model 'gemini-3.5-flash-lite'", True),
        (json_response("400 Bad Request", failed(400, "INVALID_ARGUMENT")), "HTTP 400", True),
        (json_response("429 Too Many Requests", failed(429, "RESOURCE_EXHAUSTED")), "rate limit", False),
        (json_response("500 Internal Server Error", failed(500, "INTERNAL")), "HTTP 500", False),
        (json_response("503 Service Unavailable", failed(503, "UNAVAILABLE")), "HTTP 503", False),
        (event_stream(piece("A berth"), (None, failed(503, "UNAVAILABLE"))), "HTTP 503", False),
        (event_stream(piece("A berth")), "broke off", False),
        (event_stream(piece("", "MAX_TOKENS")), "ANSWER_MAX_TOKENS", False),
        (event_stream(piece("A")) + b"data: {nope\n\n", "can't be read", False),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:", "closed the connection", False),
    ],
)
async def test_each_failure_names_its_cause_and_never_the_key(response: bytes, words: str, of_request: bool) -> None:
    error = await failure_of(response)
    assert words in error.detail
    assert error.of_request is of_request


async def test_what_may_pass_is_tried_again() -> None:
    async with wire_server(json_response("503 Service Unavailable", failed(503, "UNAVAILABLE")), ANSWER) as server:
        provider = answerer(server.url)
        assert "34 euros" in "".join((await collect(provider, REQUEST))[0])
        await provider.close()
    assert len(server.bodies) == 2


async def test_a_prompt_that_is_too_long_is_sent_again_with_fewer_passages() -> None:
    words = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."
    refusal = json_response("400 Bad Request", failed(400, "INVALID_ARGUMENT", words))
    pages = [SourcePassage(n, "Tides", f"Page {n} tells of tides. " * 40, 0.1) for n in range(2, 9)]
    async with wire_server(refusal, ANSWER) as server:
        provider = answerer(server.url)
        await collect(provider, AnswerRequest("What does a berth cost?", [HARBOUR, *pages]))
        await provider.close()
    first, second = (body["contents"][0]["parts"][0]["text"] for body in server.bodies)
    assert len(second) < 0.75 * len(first)
    assert HARBOUR.text in second
    async with wire_server(refusal) as server:
        provider = answerer(server.url)
        with pytest.raises(PromptTooLongError, match="GEMINI_MODEL"):
            await collect(provider, REQUEST)
        await provider.close()


async def test_the_time_limit_holds_for_the_whole_answer() -> None:
    start = time.perf_counter()
    error = await failure_of(event_stream(piece("A")), hold=True, timeout_s=0.4)
    assert "PROVIDER_TIMEOUT" in error.detail
    assert time.perf_counter() - start < 3


@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_a_reader_who_leaves_closes_the_connection(way: str) -> None:
    async with wire_server(event_stream(piece("A")), hold=True) as server:
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
    with pytest.raises(ConfigurationError, match="GEMINI_BASE_URL"):
        answerer("models.example")
