"""The exact cache: one entry for one question, never across an epoch or a wall, never older than its time."""

from __future__ import annotations

from dataclasses import replace
from uuid import uuid4

import pytest

from app.cache.exact import CacheKey, ExactCache, normalise
from app.cache.store import MemoryStore

KEY = CacheKey(uuid4(), uuid4(), "How much?", "hybrid 5", "model@1/384/l2", "1", "extractive", "sentences-1")


@pytest.mark.parametrize("other", ["how much", "  HOW   much ?", "\uff28ow much"])
def test_spellings_of_one_question_share_a_key(other: str) -> None:
    assert replace(KEY, question=other).digest() == KEY.digest()


@pytest.mark.parametrize("other", ["How much more?", "How many?", "How much is 5?", "How not much?"])
def test_other_questions_do_not(other: str) -> None:
    assert normalise(other) != normalise(KEY.question)


@pytest.mark.parametrize(
    "change",
    [
        {"tenant_id": uuid4()}, {"collection_id": uuid4()}, {"retrieval": "dense 5"},
        {"embedding": "other"}, {"prompt_version": "2"}, {"provider": "openai"}, {"model": "gpt"},
    ],
)  # fmt: skip
def test_whatever_an_answer_depends_on_parts_the_keys(change: dict[str, object]) -> None:
    assert replace(KEY, **change).digest() != KEY.digest()  # type: ignore[arg-type]


async def test_an_entry_is_served_only_at_its_own_epoch() -> None:
    cache = ExactCache(MemoryStore(10), 60)
    await cache.put(KEY, 7, {"text": "34"}, ["c1"], grounded=True)
    found = await cache.get(KEY, 7)
    assert found is not None
    assert found.answer == {"text": "34"}
    assert await cache.get(KEY, 8) is None
    assert await cache.get(KEY, 6) is None


async def test_a_hit_never_lengthens_an_entrys_life_and_abstentions_are_short() -> None:
    now = [0.0]
    cache = ExactCache(MemoryStore(10, lambda: now[0]), 3600, lambda: now[0])
    await cache.put(KEY, 1, {}, [], grounded=True)
    await cache.put(replace(KEY, question="other"), 1, {}, [], grounded=False)
    now[0] = 61.0
    assert await cache.get(replace(KEY, question="other"), 1) is None
    now[0] = 3599.0
    found = await cache.get(KEY, 1)
    assert found is not None
    assert found.age_s == 3599.0
    now[0] = 3600.0
    assert await cache.get(KEY, 1) is None


async def test_the_store_forgets_the_least_recently_used_first() -> None:
    store = MemoryStore(2)
    for name in ("a", "b"):
        await store.put(name, b"x", 60)
    await store.get("a")
    await store.put("c", b"x", 60)
    assert [await store.get(name) for name in "abc"] == [b"x", None, b"x"]
