"""Every process of server mode is killed again and again while documents are fed; then everything is counted."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from dataclasses import dataclass

import httpx
from sqlalchemy import select

from app.backends import open_index
from app.db.models import Chunk, Collection, Document, DocumentVersion, Job
from app.db.session import Database
from app.providers.embedding import BundledEmbedder
from tests.services.servers import Servers


@dataclass(frozen=True, slots=True)
class Outcome:
    """``lost``: accepted and not ready. ``doubled``: documents, versions, chunks or points that are there too often."""

    accepted: int
    lost: int
    doubled: int
    kills: int


class Feeder(threading.Thread):
    """Uploads documents one after another, and again what was not answered: a client that retries."""

    def __init__(self, servers: Servers, count: int) -> None:
        super().__init__(daemon=True)
        self._servers = servers
        self._count = count
        self.accepted: set[str] = set()

    def run(self) -> None:
        for number in range(self._count):
            body = {"title": f"Document {number}", "text": text_of(number), "media_type": "text/markdown"}
            while not self._sent(body):
                time.sleep(0.2)

    def _sent(self, body: dict[str, str]) -> bool:
        try:
            answer = self._servers.request("POST", "/api/v1/documents", json=body)
        except httpx.TransportError:
            return False
        if answer.status_code in (200, 202):
            self.accepted.add(answer.json()["document"]["id"])
            return True
        assert answer.status_code == 503, answer.text
        return False


def text_of(number: int) -> str:
    """A document of three chunks, unlike every other."""
    return f"# Document {number}\n\n" + "\n\n".join(
        f"## Part {part}\n\nFact {part} of {number}: " + f"a word {number} and " * 20 for part in range(3)
    )


def kill_while_feeding(servers: Servers, documents: int, rounds: int, seed: int) -> set[str]:
    """In each round all four are killed, in another order, with some moments between; returns what was accepted."""
    chance = random.Random(seed)  # noqa: S311 - moments, not secrets
    feeder = Feeder(servers, documents)
    feeder.start()
    for _ in range(rounds):
        for name in chance.sample(Servers.NAMES, len(Servers.NAMES)):
            time.sleep(chance.uniform(0.1, 1.5))
            servers.kill(name)
    feeder.join(timeout=300)
    assert not feeder.is_alive(), "documents could not be sent"
    return feeder.accepted


async def settle_and_count(servers: Servers, accepted: set[str], documents: int, kills: int) -> Outcome:
    """Wait until no job is left, then compare what was promised, the database and the index."""
    database = Database(servers.settings.sqlalchemy_url)
    await _no_job_left(database)
    async with database.session(reading=True) as session:
        ready = set(await session.scalars(select(Document.id).where(Document.current_version_id.is_not(None))))
        rows = (await session.scalars(select(Document))).all()
        versions = (await session.scalars(select(DocumentVersion))).all()
        chunks = (await session.scalars(select(Chunk.version_id))).all()
        epoch = (await session.scalars(select(Collection.epoch))).one()
    index = open_index(servers.settings, BundledEmbedder.identity, database)
    points = {version.id: await index.count(version_id=version.id) for version in versions}
    total = await index.count()
    await index.close()
    await database.close()
    wrong = sum(not chunks.count(v.id) == points[v.id] == v.chunk_count > 0 for v in versions)
    doubled = len(rows) - len({row.source for row in rows}) + len(versions) - len(rows) + wrong
    doubled += abs(total - len(chunks)) + abs(epoch - len(rows))
    lost = documents - len(accepted) + sum(identifier not in {str(found) for found in ready} for identifier in accepted)
    return Outcome(len(accepted), lost, doubled, kills)


async def _no_job_left(database: Database) -> None:
    deadline = time.monotonic() + 300
    while True:
        async with database.session(reading=True) as session:
            states = (await session.scalars(select(Job.state))).all()
        if states and not {"queued", "running"} & set(states):
            return
        assert time.monotonic() < deadline, f"jobs are left: {[s for s in states if s in ('queued', 'running')]}"
        await asyncio.sleep(0.5)
