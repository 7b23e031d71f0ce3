"""Ratings of answers over HTTP."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from app.auth.keys import Scope
from app.db.bootstrap import DEFAULT_TENANT_ID
from app.settings import Settings
from app.telemetry.exposition import render
from tests.api.conftest import Running, started
from tests.api.test_errors import is_problem

FEEDBACK = "/api/v1/feedback"


async def test_an_answer_is_rated_as_soon_as_it_is_there_and_again(running: Running) -> None:
    asked = await running.ask("Anything?")
    sent = {"request_id": asked["request_id"], "rating": "down", "reason": "no", "corrected_answer": "Yes."}
    first = await running.client.post(FEEDBACK, json=sent)
    assert first.status_code == 201, first.text
    assert {name: first.json()[name] for name in sent} == sent
    second = await running.client.post(FEEDBACK, json={"request_id": asked["request_id"], "rating": "up"})
    assert (second.status_code, second.json()["id"]) == (200, first.json()["id"])
    listed = (await running.client.get(FEEDBACK)).json()["feedback"]
    assert [(item["rating"], item["reason"]) for item in listed] == [("up", None)]
    counted = render(running.services.metrics)[0].decode()
    assert 'anchorage_feedback_total{rating="down"} 1.0' in counted
    assert 'anchorage_feedback_total{rating="up"} 1.0' in counted


@pytest.mark.asyncio(loop_scope="package")
async def test_ratings_are_listed_by_cursor_and_kind(own: Running) -> None:
    ids = [(await own.ask(f"Question {number}?"))["request_id"] for number in range(5)]
    for number, request_id in enumerate(ids):
        rating = "up" if number % 2 else "down"
        await own.client.post(FEEDBACK, json={"request_id": request_id, "rating": rating})
    seen: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        page = (await own.client.get(FEEDBACK, params={"limit": "2", **cursor})).json()
        seen += [item["request_id"] for item in page["feedback"]]
        if page["next_cursor"] is None:
            break
        cursor = {"cursor": page["next_cursor"]}
    assert seen == ids[::-1]
    ups = (await own.client.get(FEEDBACK, params={"rating": "up"})).json()["feedback"]
    assert [item["request_id"] for item in ups] == [ids[3], ids[1]]


@pytest.mark.asyncio(loop_scope="package")
async def test_what_was_not_answered_here_can_not_be_rated(own: Running) -> None:
    asked = await own.ask("Anything?")
    other = await own.tenant("other")
    sent = {"request_id": asked["request_id"], "rating": "up"}
    is_problem(await own.stranger.post(FEEDBACK, json=sent, headers=other), 404, "not_found")
    is_problem(await own.client.post(FEEDBACK, json=sent | {"request_id": uuid4().hex}), 404, "not_found")


@pytest.mark.asyncio(loop_scope="package")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"rating": "up"}, "request_id"),
        ({"request_id": "a b", "rating": "up"}, "request_id"),
        ({"request_id": "x", "rating": "meh"}, "rating"),
        ({"request_id": "x", "rating": "up", "reason": "x" * 2001}, "reason"),
        ({"request_id": "x", "rating": "up", "corrected_answer": "nul\x00"}, "corrected_answer"),
        ({"request_id": "x", "rating": "up", "stars": 5}, "stars"),
    ],
)
async def test_wrong_ratings_are_named(shared: Running, body: dict[str, Any], field: str) -> None:
    problem = is_problem(await shared.client.post(FEEDBACK, json=body), 422, "validation_failed")
    assert [item["field"] for item in problem["errors"]] == [field]


@pytest.mark.asyncio(loop_scope="package")
async def test_ratings_and_sessions_are_listed_for_admins_alone(shared: Running) -> None:
    key = await shared.services.keyring.create(DEFAULT_TENANT_ID, "reader", frozenset({Scope.QUERY}))
    for path in (FEEDBACK, "/api/v1/sessions"):
        response = await shared.stranger.get(path, headers={"X-API-Key": key})
        is_problem(response, 403, "permission_denied")


async def test_without_a_record_of_questions_there_is_nothing_to_rate(tmp_path: Path) -> None:
    async with started(Settings(data_dir=tmp_path, enable_query_logging=False)) as running:
        sent = {"request_id": (await running.ask("Anything?"))["request_id"], "rating": "up"}
        problem = is_problem(await running.client.post(FEEDBACK, json=sent), 409, "conflict")
    assert "ENABLE_QUERY_LOGGING" in problem["detail"]
