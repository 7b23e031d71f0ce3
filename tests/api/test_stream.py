"""Streams and clients that leave, over a real connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from app.api import streaming
from app.settings import Settings
from app.telemetry.exposition import render
from tests.api.conftest import Running, listening, started
from tests.api.test_errors import QUERY, is_problem
from tests.api.upstream import SlowModel, slow_model

DOCUMENT = "# Harbour manual\n\nA berth costs 34 euros a night."
WORDS = ["A berth ", "costs ", "34 euros ", "a night ", "[1]."]
GRACE = 0.4
ASK = {"query": "How much does a berth cost a night?", "provider": "openai", "use_cache": False}


def events(text: str) -> list[tuple[str, Any]]:
    """Name and data of each event of a stream."""
    found = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in fields:
            found.append((fields["event"], json.loads(fields["data"])))
    return found


@pytest_asyncio.fixture
async def model() -> AsyncIterator[SlowModel]:
    async with slow_model(WORDS, 0.2) as model:
        yield model


@pytest_asyncio.fixture
async def running(tmp_path: Path, model: SlowModel) -> AsyncIterator[Running]:
    settings = Settings(
        data_dir=tmp_path,
        job_poll_seconds=0.02,
        openai_base_url=model.url,
        provider_timeout=20,
        stream_grace_seconds=GRACE,
    )
    async with started(settings) as running:
        await running.add(DOCUMENT, "Harbour manual")
        yield running


async def test_words_arrive_as_they_are_written_with_heartbeats_between(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "HEARTBEAT_SECONDS", 0.15)
    clock = asyncio.get_running_loop().time
    async with listening(running) as client, client.stream("POST", QUERY, json=ASK | {"stream": True}) as response:
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["cache-control"] == "no-cache, no-transform"
        arrived = [(clock(), piece) async for piece in response.aiter_text()]
    text = "".join(piece for _, piece in arrived)
    assert [data["text"] for name, data in events(text) if name == "delta"] == WORDS
    assert ": ping" in text
    first, last = (next(at for at, piece in arrived if word in piece) for word in ("A berth", '"[1].'))
    assert last - first > 0.6
    ids = [line for line in text.splitlines() if line.startswith("id: ")]
    request_id = response.headers["x-request-id"]
    assert ids == [f"id: {request_id}:{number}" for number in range(1, len(ids) + 1)]


@pytest.mark.parametrize("stream", [True, False])
async def test_a_client_that_leaves_ends_the_generation(running: Running, model: SlowModel, stream: bool) -> None:
    async with listening(running) as client:
        asking = asyncio.create_task(client.post(QUERY, json=ASK | {"stream": stream}))
        await asyncio.wait_for(model.asked.wait(), 10)
        asking.cancel()
        await asyncio.wait_for(model.left.wait(), 0.9)
    labels = 'method="POST",route="/api/v1/query"'
    counted = render(running.services.metrics)[0].decode()
    assert f'http_requests_total{{{labels},status="{200 if stream else 499}"}} 1.0' in counted


async def test_a_stream_that_broke_off_goes_on_behind_the_last_event_without_a_second_generation(
    running: Running, model: SlowModel
) -> None:
    async with listening(running) as client:
        first = ""
        async with client.stream("POST", QUERY, json=ASK | {"stream": True}) as response:
            async for piece in response.aiter_text():
                first += piece
                if "costs" in first:
                    break
        seen = [line.removeprefix("id: ") for line in first.splitlines() if line.startswith("id: ")]
        request_id = response.headers["x-request-id"]
        resumed = await client.get(f"{QUERY}/{request_id}/events", headers={"Last-Event-ID": seen[-1]})
        assert resumed.headers["x-accel-buffering"] == "no"
        again = await client.post(QUERY, json=ASK | {"stream": True}, headers={"Last-Event-ID": seen[-1]})
        whole = await client.get(f"{QUERY}/{request_id}/events")
        last_id = [line.removeprefix("id: ") for line in whole.text.splitlines() if line.startswith("id: ")][-1]
        nothing = await client.get(f"{QUERY}/{request_id}/events", headers={"Last-Event-ID": last_id})
    assert events(whole.text) == events(first) + events(resumed.text)
    assert events(again.text) == events(resumed.text)
    assert [data["text"] for name, data in events(whole.text) if name == "delta"] == WORDS
    assert (nothing.status_code, nothing.content) == (204, b"")
    assert model.requests == 1


async def test_a_stream_is_resumed_by_its_own_tenant_and_by_ids_of_ours_alone(running: Running) -> None:
    response = await running.client.post(QUERY, json=ASK | {"stream": True, "provider": "extractive"})
    path = f"{QUERY}/{response.headers['x-request-id']}/events"
    other = await running.tenant("other")
    is_problem(await running.stranger.get(path, headers=other), 404, "not_found")
    is_problem(await running.client.get(f"{QUERY}/never/events"), 404, "not_found")
    for wrong in ("7", "a:b", "someone-elses:3"):
        is_problem(await running.client.get(path, headers={"Last-Event-ID": wrong}), 422, "validation_failed")


async def test_a_stream_that_nobody_came_back_to_was_stopped_and_says_so(running: Running, model: SlowModel) -> None:
    async with listening(running) as client:
        async with client.stream("POST", QUERY, json=ASK | {"stream": True}) as response:
            async for piece in response.aiter_text():
                if "A berth" in piece:
                    break
        await asyncio.wait_for(model.left.wait(), GRACE + 0.5)
        late = await client.get(f"{QUERY}/{response.headers['x-request-id']}/events")
    name, problem = events(late.text)[-1]
    assert (name, problem["status"], problem["code"]) == ("error", 410, "stream_stopped")


async def test_what_fails_before_the_stream_has_a_status_of_its_own(running: Running) -> None:
    response = await running.client.post(QUERY, json={"query": "x", "collection": "nope", "stream": True})
    is_problem(response, 404, "not_found")


async def test_a_provider_that_breaks_off_ends_the_stream_with_a_problem(tmp_path: Path) -> None:
    async with slow_model(["One ", "two "], 0.5) as model:
        settings = Settings(data_dir=tmp_path, openai_base_url=model.url, provider_timeout=0.7, job_poll_seconds=0.02)
        async with started(settings) as running:
            await running.add(DOCUMENT)
            response = await running.client.post(QUERY, json=ASK | {"stream": True})
            plain = await running.client.post(QUERY, json=ASK)
    name, problem = events(response.text)[-1]
    assert (name, problem["status"], problem["code"]) == ("error", 503, "provider_failed")
    assert problem["dependency"] == "openai"
    assert is_problem(plain, 503, "provider_failed")["dependency"] == "openai"
    assert plain.headers["retry-after"]


async def test_an_answer_from_the_cache_and_an_abstention_are_streamed_too(running: Running) -> None:
    sent = {"query": "How much does a berth cost a night?", "provider": "extractive", "stream": True}
    streams = [events((await running.client.post(QUERY, json=sent)).text) for _ in range(2)]
    assert [stream[-1][1]["cache"]["status"] for stream in streams] == ["miss", "exact"]
    streams.append(events((await running.client.post(QUERY, json=sent | {"query": "Who painted Guernica?"})).text))
    assert not streams[2][-1][1]["grounded"]
    for stream in streams:
        assert "".join(data["text"] for name, data in stream if name == "delta") == stream[-1][1]["answer"]
