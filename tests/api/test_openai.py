"""The official ``openai`` client, unchanged, against the service on a real port."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import pytest_asyncio

from app.settings import Settings
from tests.api.conftest import Running, listening, started
from tests.api.test_query import MANUAL
from tests.api.upstream import slow_model

pytestmark = pytest.mark.asyncio(loop_scope="package")
BERTH = "How much does a berth cost a night?"
NOT_EMBEDDED: list[tuple[dict[str, Any], str]] = [
    ({"input": ""}, "input"),
    ({"input": []}, "input"),
    ({"input": [1, 2]}, "input"),
    ({"input": ["x"] * 257}, "input"),
    ({"input": "word " * 2000}, "tokens"),
    ({"input": "x", "dimensions": 12}, "384"),
    ({"input": "x", "encoding_format": "hex"}, "encoding_format"),
]
USER: Any = {"role": "user", "content": BERTH}


@asynccontextmanager
async def client_of(running: Running, key: str | None = None) -> AsyncIterator[openai.AsyncOpenAI]:
    async with listening(running) as http:
        held = str(http.headers["authorization"]).removeprefix("Bearer ")
        async with openai.AsyncOpenAI(api_key=key or held, base_url=f"{http.base_url}/v1", max_retries=0) as client:
            yield client


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def client(shared: Running) -> AsyncIterator[openai.AsyncOpenAI]:
    await shared.client.post("/api/v1/collections", json={"name": "manuals"})
    await shared.add(MANUAL, "Harbour manual", collection="manuals", source="https://harbour.example/manual")
    async with client_of(shared) as client:
        yield client
    await shared.client.delete("/api/v1/collections/manuals")


async def test_an_answer_comes_with_its_citations_as_annotations(client: openai.AsyncOpenAI) -> None:
    done = await client.chat.completions.create(model="manuals", messages=[USER], temperature=0.2, max_tokens=50)
    message = done.choices[0].message
    assert "34 euros" in (message.content or "")
    assert done.choices[0].finish_reason == "stop"
    citation = (message.annotations or [])[0].url_citation
    assert (message.content or "")[citation.start_index : citation.end_index] == "[1]"
    assert (citation.title, citation.url) == ("Harbour manual", "https://harbour.example/manual")
    own = done.model_extra["anchorage"]  # type: ignore[index]
    assert (own["grounded"], own["citations"][0]["title"]) == (True, "Harbour manual")
    assert done.id == f"chatcmpl-{own['request_id']}"
    assert done.usage is not None


async def test_a_stream_ends_with_annotations_and_usage(client: openai.AsyncOpenAI) -> None:
    stream = await client.chat.completions.create(
        model="manuals:extractive", messages=[USER], stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert "34 euros" in text
    assert chunks[0].choices[0].delta.role == "assistant"
    last, usage = chunks[-2:]
    assert last.choices[0].finish_reason == "stop"
    found = last.choices[0].delta.model_extra["annotations"][0]["url_citation"]  # type: ignore[index]
    assert text[found["start_index"] : found["end_index"]] == "[1]"
    assert last.model_extra["anchorage"]["grounded"] is True  # type: ignore[index]
    assert (usage.choices, usage.usage is not None) == ([], True)
    plain = await client.chat.completions.create(model="manuals", messages=[USER], stream=True)
    assert all(chunk.choices for chunk in [chunk async for chunk in plain])


async def test_the_messages_before_are_the_questions_history(client: openai.AsyncOpenAI) -> None:
    messages: list[Any] = [
        {"role": "system", "content": "You are a pirate."},
        {"role": "user", "content": "When does the harbour office open?"},
        {"role": "assistant", "content": "At nine in the morning [1]."},
        {"role": "user", "content": [{"type": "text", "text": "And when does it close?"}]},
    ]
    done = await client.chat.completions.create(model="manuals", messages=messages)
    assert "closes at five" in (done.choices[0].message.content or "")


async def test_its_own_settings_go_in_the_extra_body(client: openai.AsyncOpenAI) -> None:
    extra = {"anchorage": {"threshold": 1.0, "use_cache": False}}
    done = await client.chat.completions.create(model="manuals", messages=[USER], extra_body=extra)
    own = done.model_extra["anchorage"]  # type: ignore[index]
    assert (own["grounded"], own["cache"]["status"]) == (False, "bypass")
    with pytest.raises(openai.UnprocessableEntityError):
        await client.chat.completions.create(model="manuals", messages=[USER], extra_body={"anchorage": {"x": 1}})


async def test_models_are_collections_and_the_embedder(client: openai.AsyncOpenAI) -> None:
    assert [model.id async for model in client.models.list()] == ["default", "manuals", "all-MiniLM-L6-v2"]
    assert (await client.models.retrieve("manuals")).owned_by == "anchorage"
    assert (await client.models.retrieve("manuals:extractive")).id == "manuals:extractive"
    for unknown in ("nope", "manuals:nobody"):
        with pytest.raises(openai.NotFoundError) as caught:
            await client.models.retrieve(unknown)
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


async def test_embeddings_are_those_that_documents_are_searched_by(client: openai.AsyncOpenAI, shared: Running) -> None:
    texts = ["When do you open?", "A berth."]
    expected = await shared.services.embedder.embed_documents(texts)
    done = await client.embeddings.create(model="all-MiniLM-L6-v2", input=texts)
    assert np.allclose(np.array([item.embedding for item in done.data]), expected, atol=1e-6)
    plain = await client.embeddings.create(model="all-MiniLM-L6-v2", input=texts[0], encoding_format="float")
    assert np.allclose(plain.data[0].embedding, expected[0], atol=1e-6)
    raw = await shared.client.post(
        "/v1/embeddings", json={"model": "all-MiniLM-L6-v2", "input": texts, "encoding_format": "base64"}
    )
    kept = np.frombuffer(base64.b64decode(raw.json()["data"][1]["embedding"]), dtype="<f4")
    assert np.allclose(kept, expected[1], atol=1e-6)
    assert done.usage.total_tokens == done.usage.prompt_tokens > 5


async def test_texts_that_can_not_be_embedded_are_named(shared: Running) -> None:
    for body, word in NOT_EMBEDDED:
        response = await shared.client.post("/v1/embeddings", json={"model": "all-MiniLM-L6-v2", **body})
        assert response.status_code == 422
        assert word in response.json()["error"]["message"]


async def test_errors_have_openais_shape(client: openai.AsyncOpenAI, shared: Running) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await client.chat.completions.create(model="nope", messages=[USER])
    assert (missing.value.code, missing.value.type) == ("model_not_found", "not_found_error")
    with pytest.raises(openai.NotFoundError):
        await client.chat.completions.create(model="nope", messages=[USER], stream=True)
    for messages in ([{"role": "assistant", "content": "x"}], [{"role": "user", "content": " "}], []):
        with pytest.raises(openai.UnprocessableEntityError) as caught:
            await client.chat.completions.create(model="manuals", messages=messages)  # type: ignore[arg-type]
        assert caught.value.type == "invalid_request_error"
    with pytest.raises(openai.UnprocessableEntityError):
        await client.chat.completions.create(model="manuals", messages=[USER], n=2)
    with pytest.raises(openai.AuthenticationError) as refused:
        await client.with_options(api_key="anc_wrong").chat.completions.create(model="manuals", messages=[USER])
    assert refused.value.code == "authentication_required"
    for method, path, status in (("GET", "/v1/nowhere", 404), ("GET", "/v1/embeddings", 405)):
        response = await shared.client.request(method, path)
        assert (response.status_code, set(response.json())) == (status, {"error"})
    large = await shared.client.post("/v1/chat/completions", content=b"x" * 2_000_000)
    assert (large.status_code, large.json()["error"]["code"]) == (413, "payload_too_large")


async def test_a_provider_that_breaks_off_raises_in_the_client(tmp_path: Path) -> None:
    async with slow_model(["One ", "two "], 2) as model:
        settings = Settings(data_dir=tmp_path, openai_base_url=model.url, provider_timeout=3, job_poll_seconds=0.02)
        async with started(settings) as running:
            await running.add(MANUAL)
            async with client_of(running) as client:
                stream = await client.chat.completions.create(model="default", messages=[USER], stream=True)
                with pytest.raises(openai.APIError, match="was not done"):
                    _ = [chunk async for chunk in stream]


async def test_what_was_written_without_support_is_taken_back_in_words(tmp_path: Path) -> None:
    async with slow_model(["The moon ", "is cheese."], 0.0) as model:
        settings = Settings(data_dir=tmp_path, openai_base_url=model.url, job_poll_seconds=0.02)
        async with started(settings) as running:
            await running.add(MANUAL)
            async with client_of(running) as client:
                stream = await client.chat.completions.create(model="default", messages=[USER], stream=True)
                chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text.startswith("The moon is cheese.")
    assert text.endswith("answers this question.")
    assert chunks[-1].model_extra["anchorage"]["grounded"] is False  # type: ignore[index]
