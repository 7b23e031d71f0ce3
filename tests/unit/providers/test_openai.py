"""The OpenAI-compatible provider against llama.cpp's server, and against servers that fail."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import aclosing

import pytest

from app.errors import ConfigurationError, ErrorCode, PromptTooLongError, ProviderError, UnsupportedMediaTypeError
from app.providers.openai import OpenAIAnswerer
from app.providers.protocols import AnswerRequest, Instruction, SourcePassage
from app.providers.remote import Limits
from tests.unit.providers.conftest import HARBOUR, WEATHER, ModelServer, collect, faulty_server
from tests.unit.providers.wire import wire_server

REQUEST = AnswerRequest("What does a berth cost?", [HARBOUR, WEATHER], max_tokens=24)
SECRET = "sk-very-secret-key-0123456789"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
HELLO = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m",'
    b'"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n'
)

LENGTH = HELLO.replace(b"Hello", b"").replace(b'"finish_reason":null', b'"finish_reason":"length"')
CONTEXT_TOKENS = 8192


def answerer(
    url: str, key: str | None = SECRET, timeout_s: float = 60, context_tokens: int = CONTEXT_TOKENS
) -> OpenAIAnswerer:
    limits = Limits(timeout_s, context_tokens)
    return OpenAIAnswerer(model="small", api_key=key, base_url=url, limits=limits, nonce=lambda: "n0nce")


def status(line: str, body: str = '{"error": {"message": "no"}}') -> bytes:
    return (
        f"HTTP/1.1 {line}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"retry-after-ms: 1\r\nConnection: close\r\n\r\n{body}"
    ).encode()


async def failure_of(provider: OpenAIAnswerer) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await collect(provider, REQUEST)
    await provider.close()
    assert caught.value.code is ErrorCode.PROVIDER_FAILED
    assert caught.value.dependency == "openai"
    assert SECRET not in caught.value.detail
    return caught.value


async def test_a_real_server_streams_an_answer_and_its_usage(model_server: ModelServer) -> None:
    provider = answerer(model_server.url, model_server.key)
    pieces, usage = await collect(provider, REQUEST)
    await provider.close()
    assert len([piece for piece in pieces if piece]) > 1
    assert "".join(pieces).strip()
    assert usage is not None
    assert usage.prompt_tokens > 100
    assert 0 < usage.completion_tokens <= REQUEST.max_tokens


async def test_a_real_server_refuses_a_wrong_key(model_server: ModelServer) -> None:
    error = await failure_of(answerer(model_server.url))
    assert "OPENAI_API_KEY" in error.detail


async def test_a_real_server_refuses_what_exceeds_its_context(model_server: ModelServer) -> None:
    provider = answerer(model_server.url, model_server.key)
    with pytest.raises(PromptTooLongError, match=r"exceed the context of 'small'"):
        await collect(provider, AnswerRequest("word " * 1500, [HARBOUR]))
    await provider.close()


async def test_passages_are_left_out_until_a_real_server_takes_the_prompt(model_server: ModelServer) -> None:
    """The setting says 100,000 tokens, the server reads 640: it refuses, and nothing has been said yet."""
    provider = answerer(model_server.url, model_server.key, context_tokens=100_000)
    pages = [SourcePassage(n, "Tides", f"Page {n} tells of tides. " * 40, 0.1) for n in range(2, 9)]
    pieces, usage = await collect(provider, AnswerRequest("What does a berth cost?", [HARBOUR, *pages], max_tokens=24))
    await provider.close()
    assert "".join(pieces).strip()
    assert usage is not None
    assert 150 < usage.prompt_tokens <= 640 - 24


async def test_a_real_server_does_what_an_instruction_says(model_server: ModelServer) -> None:
    provider = answerer(model_server.url, model_server.key)
    done = await provider.complete(Instruction("You repeat words.", "Repeat this word: harbour", max_tokens=12))
    await provider.close()
    assert done is not None
    assert "harbo" in done.text.lower()
    assert 0 < done.usage.completion_tokens <= 12


async def test_an_image_goes_out_as_a_data_url_and_a_type_that_no_model_takes_does_not() -> None:
    stop = HELLO.replace(b'"finish_reason":null', b'"finish_reason":"stop"')
    async with wire_server(STREAM + stop + b"data: [DONE]\n\n") as server:
        provider = answerer(f"{server.url}/v1")
        assert (await provider.describe(b"\x89PNG", "image/png")).text == "Hello"
        with pytest.raises(UnsupportedMediaTypeError, match="image/tiff"):
            await provider.describe(b"II*", "image/tiff")
        await provider.close()
    (asked,) = server.bodies
    text, image = asked["messages"][1]["content"]
    assert (text["type"], image["image_url"]["url"]) == ("text", "data:image/png;base64,iVBORw==")


async def test_what_may_pass_is_tried_again_and_what_may_not_is_not() -> None:
    good = STREAM + HELLO.replace(b'"finish_reason":null', b'"finish_reason":"stop"') + b"data: [DONE]\n\n"
    async with wire_server(status("503 Service Unavailable"), good) as server:
        provider = answerer(f"{server.url}/v1")
        assert (await collect(provider, REQUEST))[0] == ["Hello"]
        await provider.close()
    assert len(server.bodies) == 2
    async with wire_server(status("401 Unauthorized"), good) as server:
        await failure_of(answerer(f"{server.url}/v1"))
    assert len(server.bodies) == 1


@pytest.mark.parametrize(
    ("model", "official", "names"),
    [
        ("gpt-4o-mini", True, {"max_tokens", "temperature"}),
        ("gpt-5-mini", True, {"max_completion_tokens"}),
        ("gpt-5-mini", False, {"max_tokens", "temperature"}),
    ],
)
def test_models_that_think_are_asked_as_they_want_to_be(model: str, official: bool, names: set[str]) -> None:
    url = None if official else "http://127.0.0.1:9/v1"
    provider = OpenAIAnswerer(model=model, api_key=SECRET, base_url=url, limits=Limits(1, 1000))
    assert set(provider._parameters(24)) == names


async def test_a_real_server_is_free_again_as_soon_as_the_iterator_is_closed(model_server: ModelServer) -> None:
    provider = answerer(model_server.url, model_server.key)
    long = AnswerRequest("Write a very long story of a harbour.", [], max_tokens=600)
    async with aclosing(provider.stream(long)) as deltas:  # type: ignore[type-var]
        await anext(deltas)
    start = time.perf_counter()
    await collect(provider, AnswerRequest("Hello?", [], max_tokens=1))
    await provider.close()
    # Six hundred tokens take longer than that on any machine of the project's kind; see the local provider's figures.
    assert time.perf_counter() - start < 4


async def test_a_refused_connection_names_the_setting() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        error = await failure_of(answerer(f"http://127.0.0.1:{unused.getsockname()[1]}/v1"))
    assert "can't be reached" in error.detail
    assert "OPENAI_BASE_URL" in error.detail


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (STREAM + HELLO, "broke off"),
        (STREAM + LENGTH, "ANSWER_MAX_TOKENS"),
        (STREAM + HELLO + b"data: [DONE]\n\n", "broke off"),
        (STREAM + HELLO + b"data: {nope\n\n", "can't be read"),
        (STREAM + HELLO + b'data: {"error": {"message": "cuda"}}\n\n', "can't be read"),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>", "another protocol"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\ndata:", "closed the connection"),
        (status("404 Not Found"), "no model 'small'"),
        (status("400 Bad Request"), "HTTP 400"),
        (status("429 Too Many Requests"), "rate limit"),
        (status("500 Internal Server Error"), "HTTP 500"),
        (status("401 Unauthorized", f'{{"error": {{"message": "bad key {SECRET}"}}}}'), "OPENAI_API_KEY"),
    ],
)
async def test_each_failure_names_its_cause_and_never_the_key(response: bytes, message: str) -> None:
    async with faulty_server(response) as server:
        error = await failure_of(answerer(f"{server.url}/v1"))
    assert message in error.detail


@pytest.mark.parametrize("response", [b"", STREAM, STREAM + HELLO])
async def test_the_time_limit_holds_for_the_whole_answer(response: bytes) -> None:
    async with faulty_server(response, hold=True) as server:
        start = time.perf_counter()
        error = await failure_of(answerer(f"{server.url}/v1", timeout_s=0.3))
        assert time.perf_counter() - start < 3
    assert "PROVIDER_TIMEOUT" in error.detail


async def test_a_server_that_drips_is_cut_off_too() -> None:
    """Each piece comes within the limit, the answer doesn't."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STREAM)
        try:
            while True:
                writer.write(HELLO)
                await writer.drain()
                await asyncio.sleep(0.05)
        except ConnectionError:
            writer.close()

    async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        error = await failure_of(answerer(f"http://127.0.0.1:{port}/v1", timeout_s=0.5))
    assert "PROVIDER_TIMEOUT" in error.detail


async def test_closing_the_iterator_closes_the_connection() -> None:
    async with faulty_server(STREAM + HELLO, hold=True) as server:
        provider = answerer(f"{server.url}/v1")
        async with aclosing(provider.stream(REQUEST)) as deltas:  # type: ignore[type-var]
            assert (await anext(deltas)).text == "Hello"
            assert not server.client_left.is_set()
        await asyncio.wait_for(server.client_left.wait(), 2)
        await provider.close()


@pytest.mark.parametrize("url", ["localhost:11434", "ftp://models.example", "http://", "http://[bad"])
def test_an_address_that_is_no_url_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="OPENAI_BASE_URL looks like https"):
        answerer(url)
