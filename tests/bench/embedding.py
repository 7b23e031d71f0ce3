"""What indexing costs beside the embedding alone: the limit of ingestion's speed."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from uuid import uuid4

from app.db.bootstrap import DEFAULT_TENANT_ID
from app.ingest.accept import Upload
from app.services import open_services
from app.settings import Settings
from app.telemetry.metrics import Metrics

PARAGRAPH = "The harbour office keeps a list of all berths, their depth and the boats that lie there for the night. "
DOCUMENTS = 20
PARAGRAPHS = 6


async def main() -> None:
    """Print chunks a second of both, and their ratio."""
    with tempfile.TemporaryDirectory() as directory:
        settings = Settings(data_dir=Path(directory))
        services = await open_services(settings, Metrics("bench"))
        for number in range(DOCUMENTS):
            text = "\n\n".join(f"# Part {p} of {number}\n\n{PARAGRAPH * 6}" for p in range(PARAGRAPHS))
            await services.acceptance.add(
                DEFAULT_TENANT_ID, Upload(text.encode(), f"{uuid4()}.md", "text/markdown", f"Document {number}")
            )
        start = time.perf_counter()
        await services.worker.run_until_idle()
        whole = time.perf_counter() - start
        chunks = await services.index.count()
        texts = [PARAGRAPH * 6] * chunks
        start = time.perf_counter()
        await services.embedder.embed_documents(texts)
        alone = time.perf_counter() - start
        await services.close()
    print(f"ingestion: {chunks / whole:.0f} chunks/s; embedding alone: {chunks / alone:.0f}; ratio {alone / whole:.2f}")  # noqa: T201
