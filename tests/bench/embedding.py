"""What indexing costs beside the embedding alone: the limit of ingestion's speed."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import func, select

from app.db.bootstrap import DEFAULT_TENANT_ID
from app.db.models import Chunk, DocumentVersion, Job, JobState
from app.ingest.accept import Upload
from app.ingest.chunk import embedding_text
from app.services import Services, open_services
from app.settings import Settings
from app.telemetry.metrics import Metrics

SENTENCE = "The harbour office keeps a list of all berths, their depth and the boats that lie there for the night. "
DOCUMENTS = 40
PARTS = 6
ROUNDS = 3


async def main() -> float:
    """Print chunks a second of both, and their ratio, which is returned.

    Both take turns, so that a machine that changes its speed changes both.
    """
    with tempfile.TemporaryDirectory() as directory:
        services = await open_services(Settings(data_dir=Path(directory)), Metrics("bench"))
        working = asyncio.create_task(services.worker.run())
        whole = alone = 0.0
        chunks = 0
        for turn in range(ROUNDS):
            start = time.perf_counter()
            for number in range(DOCUMENTS):
                await services.acceptance.add(DEFAULT_TENANT_ID, document(turn, number))
            await _no_job_left(services)
            whole += time.perf_counter() - start
            texts = (await _texts(services))[chunks:]
            start = time.perf_counter()
            for first in range(0, len(texts), 64):
                await services.embedder.embed_documents(texts[first : first + 64])
            alone += time.perf_counter() - start
            chunks += len(texts)
        services.worker.stop()
        await working
        await services.close()
    print(f"ingestion: {chunks / whole:.0f} chunks/s; embedding alone: {chunks / alone:.0f}; ratio {alone / whole:.2f}")  # noqa: T201
    return alone / whole


def document(turn: int, number: int) -> Upload:
    """Sections of one chunk each, no two alike."""
    text = "\n\n".join(f"# Part {part} of {turn}-{number}\n\n{SENTENCE * 6}" for part in range(PARTS))
    return Upload(text.encode(), f"{turn}-{number}.md", "text/markdown", f"Document {turn}-{number}")


async def _no_job_left(services: Services) -> None:
    left = select(func.count()).where(Job.state.in_((JobState.QUEUED, JobState.RUNNING)))
    while True:
        async with services.database.session(reading=True) as session:
            if not await session.scalar(left):
                return
        await asyncio.sleep(0.05)


async def _texts(services: Services) -> Sequence[str]:
    """What was embedded, in the order of its indexing."""
    async with services.database.session(reading=True) as session:
        rows = await session.execute(
            select(Chunk.heading_path, Chunk.text, DocumentVersion.title)
            .join(DocumentVersion, DocumentVersion.id == Chunk.version_id)
            .order_by(DocumentVersion.created_at, Chunk.position)
        )
        return [embedding_text(title or "", path, text, services.embedder.token_offsets) for path, text, title in rows]
