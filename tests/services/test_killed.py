"""The service is killed at random moments while it works on documents; in the end each is there exactly once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from app.db.models import Chunk, Collection, Document, DocumentVersion, Job
from app.db.session import Database
from app.providers.embedding import BundledEmbedder
from app.settings import Settings
from app.vectors.edge import EdgeIndex

pytestmark = pytest.mark.services
DOCUMENTS, KILLS = 30, 8


class Embedded:
    """`anchorage serve` as a process."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def start(self) -> subprocess.Popen[bytes]:
        with (self.directory.parent / "log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", "from app.cli import main; main()", "serve", "--port", str(self.port)],
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "DATA_DIR": str(self.directory),
                    "JOB_LEASE_SECONDS": "1",
                    "JOB_POLL_SECONDS": "0.05",
                    "JOB_MAX_ATTEMPTS": "50",
                },
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            assert process.poll() is None, (self.directory.parent / "log").read_text()
            try:
                if self.request("GET", "/api/v1/ready").status_code == 200:
                    return process
            except httpx.TransportError:
                time.sleep(0.05)
        raise AssertionError("the service was not ready within 60 s")

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        key = self.directory / "api-key"
        headers = {"Authorization": f"Bearer {key.read_text().strip()}"} if key.exists() else {}
        return httpx.request(method, f"http://127.0.0.1:{self.port}{path}", headers=headers, timeout=20, **options)


def text(number: int) -> str:
    return f"# Document {number}\n\n" + "\n\n".join(
        f"Fact {part} of {number}: " + "a word and " * 60 for part in range(6)
    )


async def test_every_document_is_ready_exactly_once(tmp_path: Path) -> None:
    chance = random.Random(20261121)  # noqa: S311 - moments, not secrets
    service = Embedded(tmp_path / "data")
    process = service.start()
    accepted: set[str] = set()
    try:
        for kill in range(KILLS):
            until = time.monotonic() + chance.uniform(0.2, 2.5)
            for number in range(kill, DOCUMENTS, KILLS):
                body = {"title": f"Document {number}", "text": text(number), "media_type": "text/markdown"}
                answer = service.request("POST", "/api/v1/documents", json=body)
                assert answer.status_code == 202, answer.text
                accepted.add(answer.json()["document"]["id"])
                if time.monotonic() >= until:
                    break
            await asyncio.sleep(max(0.0, until - time.monotonic()))
            process.send_signal(signal.SIGKILL)
            process.wait()
            process = service.start()
        # What a killed round did not come to; the rest is there already, and is not doubled.
        for number in range(DOCUMENTS):
            body = {"title": f"Document {number}", "text": text(number), "media_type": "text/markdown"}
            answer = service.request("POST", "/api/v1/documents", json=body)
            assert answer.status_code in (200, 202), answer.text
            accepted.add(answer.json()["document"]["id"])
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            listed = service.request("GET", "/api/v1/documents", params={"limit": 200}).json()["documents"]
            if all(document["ready"] for document in listed):
                break
            await asyncio.sleep(0.2)
    finally:
        process.send_signal(signal.SIGTERM)
        # uvicorn shuts down in order, then ends by the signal that asked it to.
        assert process.wait(timeout=30) in (0, -signal.SIGTERM), (tmp_path / "log").read_text()[-3000:]
    assert {document["id"] for document in listed} == accepted
    assert len(accepted) == DOCUMENTS
    await _compare(service.directory)


async def _compare(directory: Path) -> None:
    database = Database(Settings(data_dir=directory).sqlalchemy_url)
    async with database.session(reading=True) as session:
        documents = (await session.scalars(select(Document))).all()
        versions = (await session.scalars(select(DocumentVersion))).all()
        chunks = (await session.scalars(select(Chunk))).all()
        jobs = (await session.scalars(select(Job))).all()
        epoch = (await session.scalars(select(Collection.epoch))).one()
    await database.close()
    assert len(documents) == len(versions) == len(jobs) == epoch == DOCUMENTS
    assert {version.state for version in versions} == {"ready"}
    assert {job.state for job in jobs} == {"succeeded"}
    index = EdgeIndex(directory / "index" / BundledEmbedder.identity.fingerprint, 384)
    await index.prepare()
    for version in versions:
        own = sorted(chunk.position for chunk in chunks if chunk.version_id == version.id)
        assert own == list(range(version.chunk_count))
        assert await index.count(version_id=version.id) == version.chunk_count > 1
    assert await index.count() == len(chunks)
    await index.close()
