"""Documents come back from a copy of the database, and what came later stays."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli import application
from app.settings import Settings
from tests.api.conftest import Running, started

BERTH = "How much does a berth cost a night?"
DOGS = "Where must dogs be on a leash?"


def copied(data: Path, to: Path) -> str:
    """The database as it is now, as a restore gives it, by its address."""
    with sqlite3.connect(data / "anchorage.db") as live, sqlite3.connect(to) as copy:
        live.backup(copy)
    return f"sqlite+aiosqlite:///{to}"


async def recover(settings: Settings, *words: str) -> Result:
    environment = {"DATA_DIR": str(settings.data_dir), "COLUMNS": "200"}
    return await asyncio.to_thread(lambda: CliRunner().invoke(application, ["recover", *words], env=environment))


async def outcomes(settings: Settings, *words: str) -> dict[str, int]:
    done = await recover(settings, *words, "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    counts: dict[str, int] = json.loads(done.stdout)
    return counts


async def idle(running: Running) -> None:
    """Until no job waits or runs."""
    for state in ("queued", "running"):
        jobs = (await running.client.get("/api/v1/jobs", params={"state": state})).json()["jobs"]
        for job in jobs:
            await running.finished(job["id"])


async def cited(running: Running, question: str, **fields: Any) -> list[str]:
    return [citation["chunk_id"] for citation in (await running.ask(question, **fields))["citations"]]


async def test_a_deleted_document_is_back_under_its_id_and_later_ones_stay(settings: Settings, tmp_path: Path) -> None:
    async with started(settings) as running:
        harbour = await running.add("# Berths\n\nA berth costs 34 euros a night.", source="harbour.md")
        before = await cited(running, BERTH)
        copy = copied(settings.data_dir, tmp_path / "copy.db")
        await running.client.delete(f"/api/v1/documents/{harbour}")
        await running.add("# Dogs\n\nDogs must be on a leash on the pier.")
        await idle(running)
        assert await cited(running, BERTH) == []

        assert await outcomes(settings, "--from", copy, "--document", harbour) == {"back": 1}
        await idle(running)
        assert await cited(running, BERTH) == before, "the same chunks, by their ids"
        assert await cited(running, DOGS)
        assert await outcomes(settings, "--from", copy, "--document", harbour) == {"unchanged": 1}


async def test_a_changed_document_goes_back_to_what_it_said_as_a_new_version(
    settings: Settings, tmp_path: Path
) -> None:
    async with started(settings) as running:
        harbour = await running.add("# Berths\n\nA berth costs 34 euros a night.", source="harbour.md")
        copy = copied(settings.data_dir, tmp_path / "copy.db")
        changed = await running.client.put(
            f"/api/v1/documents/{harbour}",
            json={"text": "# Berths\n\nA berth costs 99 euros a night.", "title": "B", "media_type": "text/markdown"},
        )
        await running.finished(changed.json()["job_id"])
        assert "99" in (await running.ask(BERTH))["answer"]

        assert await outcomes(settings, "--from", copy, "--document", harbour) == {"reverted": 1}
        await idle(running)
        answer = await running.ask(BERTH)
        assert "34" in answer["answer"]
        assert {citation["document_id"] for citation in answer["citations"]} == {harbour}


async def test_a_deleted_collection_is_back_and_none_of_its_former_cached_answers(
    settings: Settings, tmp_path: Path
) -> None:
    async with started(settings) as running:
        await running.client.post("/api/v1/collections", json={"name": "port", "top_k": 3})
        await running.add("# Berths\n\nA berth costs 34 euros a night.", collection="port")
        await running.add("# Dogs\n\nDogs must be on a leash on the pier.", collection="port")
        before = await cited(running, BERTH, collection="port")
        copy = copied(settings.data_dir, tmp_path / "copy.db")
        await running.client.delete("/api/v1/collections/port")
        await idle(running)

        assert await outcomes(settings, "--from", copy, "--collection", "port") == {"back": 2}
        await idle(running)
        answer = await running.ask(BERTH, collection="port")
        assert answer["cache"]["status"] == "miss"
        assert [citation["chunk_id"] for citation in answer["citations"]] == before
        assert (await running.client.get("/api/v1/collections/port")).json()["top_k"] == 3
        assert await outcomes(settings, "--from", copy, "--collection", "port") == {"unchanged": 2}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "--document ID or --collection NAME"),
        (["--collection", "nope"], "no collection 'nope'"),
        (["--document", "0a6f5f5e-6f0c-4c53-8f0a-3a1f7d1d9b01"], "no document 0a6f5f5e"),
    ],
)
async def test_what_can_not_be_brought_back_is_said(
    settings: Settings, tmp_path: Path, words: list[str], said: str
) -> None:
    async with started(settings):
        copy = copied(settings.data_dir, tmp_path / "copy.db")
    done = await recover(settings, "--from", copy, *words)
    assert done.exit_code == 1
    assert said in str(getattr(done.exception, "detail", ""))


async def test_a_copy_of_another_schema_is_refused(settings: Settings, tmp_path: Path) -> None:
    async with started(settings):
        pass
    sqlite3.connect(tmp_path / "empty.db").close()
    done = await recover(settings, "--from", f"sqlite+aiosqlite:///{tmp_path / 'empty.db'}", "--collection", "default")
    assert "schema is another" in str(getattr(done.exception, "detail", ""))
