"""A question over HTTP: answered with sources, or honestly not; streamed; cached only while nothing changed."""

from __future__ import annotations

import pytest

from app.answer.abstention import SENTENCES
from tests.api.conftest import Running
from tests.api.test_stream import events

MANUAL = """# Harbour manual

## Opening hours

The harbour office opens at nine in the morning and closes at five.

## Mooring fees

A berth costs 34 euros a night for boats up to twelve metres. Longer boats pay 51 euros.
"""


async def test_an_answer_cites_the_document_it_comes_from(running: Running) -> None:
    document = await running.add(MANUAL, "Harbour manual")
    answer = await running.ask("How much does a berth cost a night?")
    assert answer["grounded"] is True
    assert "34 euros" in answer["answer"]
    citation = answer["citations"][0]
    assert f"[{citation['number']}]" in answer["answer"]
    assert citation["document_id"] == document
    assert "34 euros" in citation["snippet"]
    assert set(answer["timings_ms"]) >= {"embed", "search", "read", "generate", "total"}


async def test_a_question_that_the_documents_do_not_answer_gets_no_answer(running: Running) -> None:
    await running.add(MANUAL)
    answer = await running.ask("Who painted the ceiling of the Sistine Chapel?")
    assert (answer["grounded"], answer["citations"]) == (False, [])


async def test_it_is_told_so_in_the_language_of_the_question(running: Running) -> None:
    await running.add(MANUAL)
    answer = await running.ask("Wer malte die Decke der Sixtinischen Kapelle?")
    assert (answer["grounded"], answer["answer"]) == (False, SENTENCES["de"])


async def test_an_empty_collection_abstains(running: Running) -> None:
    assert (await running.ask("Anything?"))["grounded"] is False


@pytest.mark.parametrize("strategy", ["hybrid", "dense", "sparse"])
async def test_each_strategy_finds_the_passage(running: Running, strategy: str) -> None:
    await running.add(MANUAL)
    answer = await running.ask("When does the harbour office open?", strategy=strategy)
    assert "nine in the morning" in answer["answer"]


async def test_the_second_time_the_answer_comes_from_the_cache(running: Running) -> None:
    await running.add(MANUAL)
    first = await running.ask("When does the harbour office open?")
    second = await running.ask("when does the  harbour office OPEN")
    assert (first["cache"]["status"], second["cache"]["status"]) == ("miss", "exact")
    assert (second["answer"], second["citations"]) == (first["answer"], first["citations"])
    assert (await running.ask("When does the harbour office open?", use_cache=False))["cache"]["status"] == "bypass"


async def test_no_answer_outlives_its_document(running: Running) -> None:
    document = await running.add(MANUAL)
    assert (await running.ask("How much does a berth cost?"))["grounded"]
    removal = await running.client.delete(f"/api/v1/documents/{document}")
    answer = await running.ask("How much does a berth cost?")
    assert (answer["grounded"], answer["cache"]["status"]) == (False, "miss")
    assert (await running.finished(removal.json()["job_id"]))["state"] == "succeeded"
    assert await running.services.index.count() == 0


async def test_a_new_version_replaces_the_old_answer(running: Running) -> None:
    document = await running.add(MANUAL)
    await running.ask("How much does a berth cost a night?")
    sent = {"text": MANUAL.replace("34 euros", "39 euros"), "title": "Harbour manual", "media_type": "text/markdown"}
    response = await running.client.put(f"/api/v1/documents/{document}", json=sent)
    await running.finished(response.json()["job_id"])
    answer = await running.ask("How much does a berth cost a night?")
    assert "39 euros" in answer["answer"]
    assert "34 euros" not in answer["answer"]


async def test_search_shows_why_a_passage_was_found(running: Running) -> None:
    await running.add(MANUAL)
    response = await running.client.post("/api/v1/search", json={"query": "berth fees"})
    best = response.json()["passages"][0]
    assert best["heading_path"] == ["Harbour manual", "Mooring fees"]
    assert best["dense_score"] > 0.3
    assert best["sparse_score"] > 0


async def test_a_stream_tells_each_step_and_ends_with_the_checked_answer(running: Running) -> None:
    await running.add(MANUAL)
    body = {"query": "How much does a berth cost a night?"}
    response = await running.client.post("/api/v1/query", json=body, headers={"Accept": "text/event-stream"})
    assert response.headers["content-type"].startswith("text/event-stream")
    told = events(response.text)
    assert list(dict.fromkeys(name for name, _ in told)) == ["meta", "retrieval", "delta", "citation", "usage", "done"]
    done = told[-1][1]
    assert "".join(data["text"] for name, data in told if name == "delta") == done["answer"]
    assert done["citations"] == [data for name, data in told if name == "citation"]


async def test_the_local_model_answers_from_the_documents_alone(running: Running) -> None:
    await running.add(MANUAL)
    answer = await running.ask("How much does a berth cost a night?", provider="local")
    assert answer["provider"] == "local"
    assert answer["model"].startswith("SmolLM2")
    assert answer["grounded"]
    assert answer["usage"]["prompt_tokens"] > 50
