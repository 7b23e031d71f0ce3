"""`/jobs`: what a content owner sees of the work on a document, and can do about it."""

from __future__ import annotations

import asyncio
import json
from uuid import uuid4

import pytest

from app.errors import DependencyUnavailableError
from tests.api.conftest import Running

ON_SHARED = pytest.mark.asyncio(loop_scope="package")


async def upload(running: Running, text: str, title: str) -> str:
    body = {"text": text, "title": title}
    return str((await running.client.post("/api/v1/documents", json=body)).json()["job_id"])


@ON_SHARED
async def test_a_done_job_tells_every_stage(shared: Running) -> None:
    job_id = await upload(shared, "A berth costs 34 euros. " * 200, "berths")
    job = await shared.finished(job_id)
    assert (job["state"], job["stage"], job["error_detail"], job["next_action"]) == ("succeeded", "done", None, None)
    chunks = job["progress"]["index"]["total"]
    assert chunks > 1
    for stage in ("chunk", "embed", "index"):
        assert job["progress"][stage] == {"done": chunks, "total": chunks}


@ON_SHARED
async def test_events_end_with_the_job(shared: Running) -> None:
    job_id = await upload(shared, "The lock opens at six. " * 400, "locks")
    seen: list[tuple[str, dict[str, object]]] = []
    async with shared.client.stream("GET", f"/api/v1/jobs/{job_id}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        name = ""
        async for line in response.aiter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                seen.append((name, json.loads(line.removeprefix("data: "))))
    assert [name for name, _ in seen] == ["progress"] * (len(seen) - 1) + ["done"]
    assert seen[-1][1]["state"] == "succeeded"


async def test_jobs_are_listed_by_state_and_page(running: Running) -> None:
    for number in range(5):
        await running.finished(await upload(running, f"Text {number}", f"title {number}"))
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        parameters = {"state": "succeeded", "limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await running.client.get("/api/v1/jobs", params=parameters)).json()
        seen += [job["id"] for job in page["jobs"]]
        cursor = page["next_cursor"]
    assert cursor is None
    assert len(seen) == len(set(seen)) == 5
    assert (await running.client.get("/api/v1/jobs", params={"state": "failed"})).json()["jobs"] == []


@pytest.fixture
def broken(running: Running, monkeypatch: pytest.MonkeyPatch) -> Running:
    """Qdrant is away: jobs wait for it."""

    async def away(_: object) -> None:
        raise DependencyUnavailableError("qdrant", "Qdrant does not answer.")

    monkeypatch.setattr(running.services.index, "upsert", away)
    return running


async def waiting(running: Running, job_id: str) -> dict[str, object]:
    async with asyncio.timeout(20):
        while True:
            job: dict[str, object] = (await running.client.get(f"/api/v1/jobs/{job_id}")).json()
            if job["waits"]:
                return job
            await asyncio.sleep(0.02)


async def test_a_job_that_waits_says_for_what_and_until_when(broken: Running) -> None:
    job = await waiting(broken, await upload(broken, "Some text", "waiting"))
    assert (job["state"], job["error_code"]) == ("queued", "dependency_unavailable")
    assert job["next_attempt_at"] is not None
    assert job["next_action"] is None


async def test_a_cancelled_job_can_be_taken_up_again(broken: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await upload(broken, "Some text", "cancelled")
    await waiting(broken, job_id)
    cancelled = await broken.client.post(f"/api/v1/jobs/{job_id}/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    assert "retry" in cancelled.json()["next_action"]
    again = await broken.client.post(f"/api/v1/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "conflict")
    document = (await broken.client.get(f"/api/v1/documents/{cancelled.json()['document_id']}")).json()
    assert (document["ready"], document["newest_version"]["error_code"]) == (False, "cancelled")
    monkeypatch.undo()
    async with asyncio.timeout(20):
        while (answer := await broken.client.post(f"/api/v1/jobs/{job_id}/retry")).status_code == 409:
            assert "still being removed" in answer.json()["detail"]
            await asyncio.sleep(0.05)
    assert answer.status_code == 202
    assert (await broken.finished(job_id))["state"] == "succeeded"
    assert (await broken.client.post(f"/api/v1/jobs/{job_id}/retry")).status_code == 409


@ON_SHARED
async def test_a_strangers_job_is_unknown(shared: Running) -> None:
    for path in ("", "/events"):
        answer = await shared.client.get(f"/api/v1/jobs/{uuid4()}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    for verb in ("cancel", "retry"):
        assert (await shared.client.post(f"/api/v1/jobs/{uuid4()}/{verb}")).status_code == 404
