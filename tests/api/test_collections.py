"""Collections over HTTP: made, asked by their own settings, changed, and gone with all that is in them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from app.db.models import JobState
from tests.api.conftest import Running
from tests.api.test_errors import is_problem

COLLECTIONS = "/api/v1/collections"
BOATS = "# Boats\n\nA berth costs 34 euros a night.\n\n# Cars\n\nA garage costs 12 euros a day."


async def made(running: Running, name: str = "manuals", **settings: Any) -> dict[str, Any]:
    response = await running.client.post(COLLECTIONS, json={"name": name, **settings})
    assert response.status_code == 201, response.text
    collection: dict[str, Any] = response.json()
    return collection


@pytest.mark.asyncio(loop_scope="package")
async def test_a_collection_is_made_listed_changed_and_shown(own: Running) -> None:
    await made(own, description="Machines", chunk_tokens=100, top_k=3)
    change = {"top_k": None, "threshold": 0.5, "chunk_tokens": 64}
    changed = (await own.client.patch(f"{COLLECTIONS}/manuals", json=change)).json()
    assert (changed["top_k"], changed["threshold"], changed["chunk_tokens"]) == (None, 0.5, 64)
    assert (changed["description"], changed["notice"]) == ("Machines", None)
    await own.add(BOATS, collection="manuals")
    assert "reindex" in (await own.client.patch(f"{COLLECTIONS}/manuals", json={"chunk_tokens": 80})).json()["notice"]
    shown = (await own.client.get(f"{COLLECTIONS}/manuals")).json()
    assert (shown["documents"], shown["chunk_tokens"]) == (1, 80)
    listed = (await own.client.get(COLLECTIONS)).json()["collections"]
    assert [item["name"] for item in listed] == ["default", "manuals"]
    assert listed[1] == shown


@pytest.mark.asyncio(loop_scope="package")
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": ""}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": "a:b"}, "name"),
        ({"name": ".hidden"}, "name"),
        ({"name": "n", "chunk_tokens": 31}, "chunk_tokens"),
        ({"name": "n", "chunk_tokens": 195}, "chunk_tokens"),
        ({"name": "n", "chunk_overlap_tokens": -1}, "chunk_overlap_tokens"),
        ({"name": "n", "chunk_tokens": 40, "chunk_overlap_tokens": 20}, "body"),
        ({"name": "n", "threshold": 1.5}, "threshold"),
        ({"name": "n", "strategy": "magic"}, "strategy"),
        ({"name": "n", "colour": "red"}, "colour"),
    ],
)
async def test_settings_out_of_range_are_named(shared: Running, body: dict[str, Any], field: str) -> None:
    problem = is_problem(await shared.client.post(COLLECTIONS, json=body), 422, "validation_failed")
    assert [item["field"] for item in problem["errors"]] == [field]


@pytest.mark.asyncio(loop_scope="package")
async def test_what_contradicts_what_is_there_is_refused(own: Running) -> None:
    await made(own)
    is_problem(await own.client.post(COLLECTIONS, json={"name": "manuals"}), 409, "conflict")
    is_problem(await own.client.delete(f"{COLLECTIONS}/default"), 409, "conflict")
    small = {"chunk_tokens": 40}
    is_problem(await own.client.patch(f"{COLLECTIONS}/manuals", json=small), 422, "validation_failed")
    for method in ("GET", "DELETE"):
        is_problem(await own.client.request(method, f"{COLLECTIONS}/nope"), 404, "not_found")
    is_problem(await own.client.patch(f"{COLLECTIONS}/nope", json={}), 404, "not_found")


@pytest.mark.asyncio(loop_scope="package")
async def test_questions_follow_the_collection_where_they_say_nothing(own: Running) -> None:
    await made(own, top_k=1, threshold=0.99, strategy="dense")
    await own.add(BOATS, collection="manuals")
    query = {"query": "What does a berth cost?", "collection": "manuals"}
    assert not (await own.ask(**query))["grounded"]
    assert (await own.ask(**query, threshold=0.1))["grounded"]
    found = (await own.client.post("/api/v1/search", json=query)).json()["passages"]
    assert (len(found), found[0]["sparse_score"]) == (1, None)
    asked = (await own.client.post("/api/v1/search", json=query | {"top_k": 2, "strategy": "sparse"})).json()
    assert asked["passages"][0]["dense_score"] is None
    # A change holds for the next question, though the answer was cached before.
    await own.client.patch(f"{COLLECTIONS}/manuals", json={"threshold": 0.1})
    assert (await own.ask(**query))["grounded"]


async def test_a_deleted_collection_is_gone_at_once_and_its_points_soon(running: Running) -> None:
    await made(running)
    documents = [await running.add(BOATS, collection="manuals", source=f"{n}.md") for n in range(3)]
    kept = await running.add("# Other\n\nThe lighthouse was built in 1902.")
    session = (await running.client.post("/api/v1/sessions", json={"collection": "manuals"})).json()["id"]
    assert (await running.ask("What does a berth cost?", collection="manuals"))["grounded"]
    response = await running.client.delete(f"{COLLECTIONS}/manuals")
    assert (response.status_code, response.json()) == (202, {"documents": 3})
    asked = {"query": "What does a berth cost?", "collection": "manuals"}
    is_problem(await running.client.post("/api/v1/query", json=asked), 404, "not_found")
    for path in [f"documents/{document}" for document in documents] + [f"sessions/{session}"]:
        is_problem(await running.client.get(f"/api/v1/{path}"), 404, "not_found")
    async with asyncio.timeout(10):
        while True:
            if await running.services.index.count() == 1:
                break
            await asyncio.sleep(0.02)
    assert (await running.client.get(f"/api/v1/documents/{kept}")).json()["ready"]
    # One of the same name starts empty, and has nothing of the old one's answers.
    await made(running)
    assert not (await running.ask("What does a berth cost?", collection="manuals"))["grounded"]


async def test_a_document_in_work_while_its_collection_goes_leaves_nothing(running: Running) -> None:
    await made(running)
    sent = {"title": "Boats", "text": BOATS, "media_type": "text/markdown", "collection": "manuals"}
    for number in range(5):
        await running.client.post("/api/v1/documents", json=sent | {"source": f"{number}.md"})
    assert (await running.client.delete(f"{COLLECTIONS}/manuals")).status_code == 202
    async with asyncio.timeout(20):
        while True:
            jobs = (await running.client.get("/api/v1/jobs")).json()["jobs"]
            if all(job["state"] == JobState.SUCCEEDED for job in jobs):
                break
            await asyncio.sleep(0.05)
    assert await running.services.index.count() == 0


@pytest.mark.asyncio(loop_scope="package")
async def test_collections_are_their_tenants_own(own: Running) -> None:
    await made(own)
    other = await own.tenant("other")
    listed = (await own.stranger.get(COLLECTIONS, headers=other)).json()["collections"]
    assert [item["name"] for item in listed] == ["default"]
    is_problem(await own.stranger.get(f"{COLLECTIONS}/manuals", headers=other), 404, "not_found")
    assert (await own.stranger.post(COLLECTIONS, json={"name": "manuals"}, headers=other)).status_code == 201
