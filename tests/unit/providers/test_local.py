"""The local provider with its real model: whatever the model writes, what comes out is supported."""

from __future__ import annotations

import asyncio
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

import pytest

from app.answer.citations import cite
from app.errors import ConfigurationError, ProviderError
from app.providers.extractive import ExtractiveAnswerer
from app.providers.local import ContextExceededError, LlamaEngine, LocalAnswerer, bundled_model, supporting_passage
from app.providers.protocols import AnswerRequest, SourcePassage, Usage
from tests.unit.providers.conftest import HARBOUR, WEATHER, collect

PASSAGES = [HARBOUR, WEATHER]
REQUEST = AnswerRequest("What does a berth cost a night?", PASSAGES, max_tokens=32)
TALK = {
    "messages": [{"role": "user", "content": "Tell a long story of a harbour."}],
    "temperature": 0,
    "ignore_eos": True,
}


def soon(seconds: float = 30) -> float:
    return asyncio.get_running_loop().time() + seconds


async def test_each_sentence_of_the_answer_is_cited_and_the_citations_hold(local: LocalAnswerer) -> None:
    pieces, usage = await collect(local, REQUEST)
    text = "".join(pieces)
    checked, citations = cite(text, PASSAGES)
    assert checked == text
    assert "34" in text
    assert [citation.number for citation in citations] == [1]
    assert usage is not None
    assert usage.prompt_tokens > 100
    assert usage.completion_tokens > 0


async def test_what_no_passage_supports_is_replaced_by_the_extractive_answer(local: LocalAnswerer) -> None:
    # One token is no sentence that a passage could support.
    pieces, usage = await collect(local, replace(REQUEST, max_tokens=1))
    quoted, _ = await collect(ExtractiveAnswerer(), REQUEST)
    assert pieces == quoted
    assert usage is not None
    assert usage.completion_tokens == 1


async def test_passages_are_cut_until_they_fit_the_model(local: LocalAnswerer) -> None:
    # A digit is a token: far more than the 512 that this model reads.
    ledger = SourcePassage(1, "Ledger", "The pier is 120 metres long. " + "7 3 " * 220, 1.0)
    pieces, usage = await collect(local, AnswerRequest("How long is the pier?", [ledger], max_tokens=8))
    assert "[1]" in "".join(pieces)
    assert usage is not None
    assert 0 < usage.prompt_tokens < 512


async def test_a_question_longer_than_the_context_is_answered_by_quoting(local: LocalAnswerer) -> None:
    pieces, usage = await collect(local, replace(REQUEST, question="What does a berth cost? " + "9 8 " * 500))
    assert "A berth costs 34 euros a night. [1]" in "".join(pieces)
    assert usage == Usage()


async def read_five(engine: LlamaEngine, read: asyncio.Event) -> None:
    async with aclosing(engine.generate({**TALK, "max_tokens": 450}, soon())) as deltas:
        for _ in range(5):
            await anext(deltas)
        read.set()
        await anext(deltas)


@pytest.mark.parametrize("way", ["close", "cancel"])
async def test_closing_the_iterator_or_cancelling_the_task_stops_the_model(local: LocalAnswerer, way: str) -> None:
    loop = asyncio.get_running_loop()
    read = asyncio.Event()
    start = time.perf_counter()
    task = asyncio.create_task(read_five(local._engine, read))
    await read.wait()
    time_of_five = time.perf_counter() - start
    if way == "cancel":
        task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    start = time.perf_counter()
    await loop.run_in_executor(local._engine._thread, lambda: None)
    # The other 445 tokens would take far longer.
    assert time.perf_counter() - start < 4 * time_of_five


async def first_piece(engine: LlamaEngine, prompt: str) -> str:
    body = {"messages": [{"role": "user", "content": prompt}], "max_tokens": 1}
    async with aclosing(engine.generate(body, soon())) as deltas:
        return (await anext(deltas)).text


async def test_the_model_stops_while_it_reads_the_prompt(local: LocalAnswerer) -> None:
    start = time.perf_counter()
    await first_piece(local._engine, "7 " * 200)
    time_of_all = time.perf_counter() - start
    task = asyncio.create_task(first_piece(local._engine, "8 " * 200))
    await asyncio.sleep(0.02)
    task.cancel()
    start = time.perf_counter()
    await asyncio.get_running_loop().run_in_executor(local._engine._thread, lambda: None)
    assert time.perf_counter() - start < 0.75 * time_of_all


async def test_the_event_loop_is_free_while_the_model_writes(local: LocalAnswerer) -> None:
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            start = time.perf_counter()
            await asyncio.sleep(0.01)
            longest = max(longest, time.perf_counter() - start)

    watcher = asyncio.create_task(watch())
    async with aclosing(local._engine.generate({**TALK, "max_tokens": 24}, soon())) as deltas:
        pieces = [delta.text async for delta in deltas]
    watcher.cancel()
    assert len(pieces) > 10
    assert longest < 0.5


async def test_questions_wait_for_one_another(local: LocalAnswerer) -> None:
    short = replace(REQUEST, max_tokens=2)
    answers = await asyncio.gather(*(collect(local, short) for _ in range(2)))
    assert all("[1]" in "".join(pieces) for pieces, _ in answers)


async def test_the_engine_says_how_many_tokens_were_too_many(local: LocalAnswerer) -> None:
    body = {"messages": [{"role": "user", "content": "word " * 2000}], "max_tokens": 1}
    with pytest.raises(ContextExceededError) as caught:
        async with aclosing(local._engine.generate(body, soon())) as deltas:
            await anext(deltas)
    assert caught.value.prompt_tokens > 2000


async def test_the_time_limit_names_its_setting() -> None:
    hasty = LocalAnswerer(model_path=None, timeout_s=0.01)
    try:
        with pytest.raises(ProviderError, match="PROVIDER_TIMEOUT"):
            await collect(hasty, REQUEST)
    finally:
        await hasty.close()


async def test_closing_while_it_writes_ends_the_answer_at_once() -> None:
    engine = LlamaEngine(bundled_model(), 512)
    async with aclosing(engine.generate({**TALK, "max_tokens": 400}, soon())) as deltas:
        await anext(deltas)
        waiting = asyncio.create_task(_drain(engine))
        await asyncio.sleep(0.05)
        start = time.perf_counter()
        await engine.close()
        assert time.perf_counter() - start < 4
        with pytest.raises(ProviderError, match="shutting down"):
            async for _ in deltas:
                pass
    with pytest.raises(ProviderError, match="shutting down"):
        await waiting


async def _drain(engine: LlamaEngine) -> None:
    async with aclosing(engine.generate({**TALK, "max_tokens": 1}, soon())) as deltas:
        async for _ in deltas:
            pass


async def test_a_damaged_model_is_named(tmp_path: Path) -> None:
    damaged = tmp_path / "broken.gguf"
    damaged.write_bytes(b"GGUF" + bytes(64))
    answerer = LocalAnswerer(model_path=damaged, timeout_s=10)
    with pytest.raises(ProviderError, match=r"broken\.gguf.*LOCAL_MODEL_PATH"):
        await collect(answerer, REQUEST)
    await answerer.close()


def test_a_missing_or_foreign_file_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"LOCAL_MODEL_PATH.*pip install 'anchorage\[local\]'"):
        LocalAnswerer(model_path=tmp_path / "none.gguf", timeout_s=1)
    (tmp_path / "text.gguf").write_text("not a model")
    with pytest.raises(ConfigurationError, match="not a GGUF"):
        LocalAnswerer(model_path=tmp_path / "text.gguf", timeout_s=1)


@pytest.mark.parametrize(
    ("sentence", "number"),
    [
        ("A berth costs 34 euros.", 1),
        ("A berth costs 34 euros a night [1].", 1),
        ("A berth costs 34 euros [2].", 1),
        ("The pier closes in a storm.", 2),
        ("A berth costs 35 euros a night.", None),
        ("In Rotterdam a berth costs 34 euros a night.", None),
        ("What does a berth cost a night?", None),
        ("A berth costs a night.", None),
        ("The passage says that a berth costs 34 euros a night.", None),
        ("I don't know.", None),
        ("", None),
    ],
)
def test_a_sentence_needs_its_words_numbers_and_names_in_the_passage(sentence: str, number: int | None) -> None:
    assert supporting_passage(sentence, REQUEST.question, PASSAGES) == number


def test_two_facts_are_not_mixed() -> None:
    game = "The Broncos won by scoring 11 points in the final three minutes. The Panthers defense gave up 308 points."
    wrong = "The Panthers defense surrendered 11 points in the final three minutes."
    assert supporting_passage(wrong, "How many points?", [SourcePassage(1, "Game", game, 1.0)]) is None
