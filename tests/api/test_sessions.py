"""Conversations over HTTP: follow-ups are understood, history is kept, and ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select, update

from app.db.models import QueryLogEntry, Session, Turn
from app.settings import Settings
from tests.api.conftest import Running, started
from tests.api.test_errors import QUERY, is_problem
from tests.api.test_query import MANUAL
from tests.api.test_stream import events
from tests.api.upstream import completing_model

SESSIONS = "/api/v1/sessions"
BERTH = "How much does a berth cost a night?"


async def end_all(running: Running) -> None:
    async with running.services.database.session() as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        await session.execute(update(Session).values(expires_at=past))


@pytest.mark.asyncio(loop_scope="package")
async def test_a_follow_up_is_looked_up_as_a_question_of_its_own(own: Running) -> None:
    await own.add(MANUAL)
    first = await own.ask("When does the harbour office open?", session=True)
    assert first["session_id"]
    second = await own.ask("And when does it close?", session_id=first["session_id"])
    assert second["session_id"] == first["session_id"]
    assert "closes at five" in second["answer"]
    assert second["standalone_question"] == "And when does it close? (harbour office open)"
    history = (await own.client.get(f"{SESSIONS}/{first['session_id']}")).json()
    assert [(turn["position"], turn["question"]) for turn in history["turns"]] == [
        (1, "When does the harbour office open?"),
        (2, "And when does it close?"),
    ]
    assert history["turns"][1]["standalone"] == second["standalone_question"]
    assert history["turns"][1]["citations"] == second["citations"]
    assert (history["collection"], history["earlier"]) == ("default", 0)
    shorter = (await own.client.get(f"{SESSIONS}/{first['session_id']}", params={"limit": 1})).json()
    assert ([turn["position"] for turn in shorter["turns"]], shorter["earlier"]) == ([2], 1)


async def test_without_a_session_nothing_is_kept_of_a_question(running: Running) -> None:
    assert (await running.ask(BERTH))["session_id"] is None
    assert await _count(running, Session) == 0


@pytest.mark.asyncio(loop_scope="package")
async def test_only_the_standalone_question_is_cached_and_logged(own: Running) -> None:
    await own.add(MANUAL)
    session = (await own.ask(BERTH, session=True))["session_id"]
    follow = await own.ask("And for longer boats?", session_id=session)
    assert follow["cache"]["status"] == "miss"
    alone = await own.ask(follow["standalone_question"])
    assert (alone["cache"]["status"], alone["answer"]) == ("exact", follow["answer"])
    assert (await own.ask("And for longer boats?"))["cache"]["status"] == "miss"
    await own.services.query_log.flush()  # type: ignore[union-attr]
    async with own.services.database.session(reading=True) as db:
        row = await db.get_one(QueryLogEntry, follow["request_id"])
    assert (row.query, str(row.session_id), row.answer) == (follow["standalone_question"], session, follow["answer"])


async def test_a_model_that_follows_instructions_rewrites(tmp_path: Path) -> None:
    async with completing_model("How much do longer boats pay for a berth?", "Longer boats pay 51 euros [1].") as model:
        settings = Settings(data_dir=tmp_path, job_poll_seconds=0.02, openai_base_url=model.url)
        async with started(settings) as running:
            await running.add(MANUAL)
            session = (await running.ask(BERTH, session=True, provider="extractive"))["session_id"]
            answer = await running.ask("And longer ones?", session_id=session)
            streamed = await running.client.post(QUERY, json={"query": "Why?", "session_id": session, "stream": True})
    assert answer["standalone_question"] == "How much do longer boats pay for a berth?"
    assert "51 euros" in answer["answer"]
    assert answer["timings_ms"]["rewrite"] > 0
    assert answer["usage"]["prompt_tokens"] == 30
    assert events(streamed.text)[-1][1]["session_id"] == session


@pytest.mark.asyncio(loop_scope="package")
async def test_a_session_is_begun_listed_and_ended_by_hand(own: Running) -> None:
    made = [(await own.client.post(SESSIONS, json={})).json() for _ in range(3)]
    page = (await own.client.get(SESSIONS, params={"limit": 2})).json()
    rest = (await own.client.get(SESSIONS, params={"limit": 2, "cursor": page["next_cursor"]})).json()
    assert [item["id"] for item in page["sessions"] + rest["sessions"]] == [item["id"] for item in reversed(made)]
    assert (await own.client.get(f"/sessions/{made[0]['id']}")).json()["turns"] == []
    assert (await own.client.delete(f"{SESSIONS}/{made[0]['id']}")).status_code == 204
    is_problem(await own.client.get(f"{SESSIONS}/{made[0]['id']}"), 404, "not_found")
    asked = {"query": BERTH, "session_id": made[0]["id"]}
    is_problem(await own.client.post(QUERY, json=asked), 404, "not_found")


async def test_a_session_that_has_ended_is_gone_and_swept(running: Running) -> None:
    session = (await running.ask(BERTH, session=True))["session_id"]
    before = (await running.client.get(f"{SESSIONS}/{session}")).json()["expires_at"]
    await running.ask("And now?", session_id=session)
    assert (await running.client.get(f"{SESSIONS}/{session}")).json()["expires_at"] > before
    await end_all(running)
    for method in ("GET", "DELETE"):
        is_problem(await running.client.request(method, f"{SESSIONS}/{session}"), 404, "not_found")
    is_problem(await running.client.post(QUERY, json={"query": "x", "session_id": session}), 404, "not_found")
    assert (await running.client.get(SESSIONS)).json()["sessions"] == []
    assert await running.services.conversations.sweep() == 1
    assert [await _count(running, table) for table in (Session, Turn)] == [0, 0]


@pytest.mark.asyncio(loop_scope="package")
async def test_a_session_is_its_tenants_and_its_collections_own(own: Running) -> None:
    await own.client.post("/api/v1/collections", json={"name": "manuals"})
    session = (await own.client.post(SESSIONS, json={"collection": "manuals"})).json()["id"]
    other = await own.tenant("other")
    asked = {"query": BERTH, "session_id": session}
    is_problem(await own.stranger.get(f"{SESSIONS}/{session}", headers=other), 404, "not_found")
    is_problem(await own.stranger.post(QUERY, json=asked, headers=other), 404, "not_found")
    assert (await own.stranger.get(SESSIONS, headers=other)).json()["sessions"] == []
    is_problem(await own.client.post(QUERY, json=asked | {"collection": "default"}), 409, "conflict")
    assert (await own.client.post(QUERY, json=asked)).json()["session_id"] == session
    is_problem(await own.client.get(f"{SESSIONS}/{uuid4()}"), 404, "not_found")


@pytest.mark.asyncio(loop_scope="package")
@pytest.mark.parametrize("body", [{"session_id": "x"}, {"session_id": 7}, {"session": "maybe"}])
async def test_wrong_sessions_are_named(shared: Running, body: dict[str, Any]) -> None:
    problem = is_problem(await shared.client.post(QUERY, json={"query": "x"} | body), 422, "validation_failed")
    assert [item["field"] for item in problem["errors"]] == list(body)


async def _count(running: Running, table: type) -> int:
    async with running.services.database.session(reading=True) as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0
