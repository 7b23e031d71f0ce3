"""100,000 chunks in server mode on this machine: the worker's memory, and what a question costs beside its answer."""

from __future__ import annotations

import asyncio
import random
import statistics
import tempfile
import time
from pathlib import Path

from sqlalchemy import func, select

from app.db.models import Chunk, Document
from app.db.session import Database
from tests.prove.scorecard import Figure
from tests.services.servers import Servers

DOCUMENTS, SECTIONS = 1000, 100
QUESTIONS, WARM_UP = 200, 20
WORDS = (
    "archive harbour berth vacuum index pilot tide anchor replica ledger beacon cargo dredge engine ferry gauge "
    "hawser inlet jetty keel lantern mooring nautical oar pier quay rudder sail tiller vessel winch yard buoy"
).split()


def measure() -> list[Figure]:
    """Short chunks: what is measured is their number, not how long embedding takes."""
    with tempfile.TemporaryDirectory(prefix="anchorage-scale-") as directory:
        servers = Servers(Path(directory)).start()
        try:
            began = time.monotonic()
            feed(servers)
            chunks = asyncio.run(_settled(servers))
            took = time.monotonic() - began
            memory = servers.memory_mib("worker")
            steps = _ask(servers)
        finally:
            servers.end()
    beside = [sum(ms for step, ms in one.items() if step not in ("generate", "total")) for one in steps]
    p95 = statistics.quantiles(beside, n=20)[18]
    shown = ", ".join(
        f"{step} {statistics.quantiles([one.get(step, 0.0) for one in steps], n=20)[18]:.1f}" for step in steps[0]
    )
    return [
        Figure(f"a worker's memory after {chunks:,} chunks", "≤ 600 MiB", f"{memory:.0f} MiB", memory <= 600),
        Figure(f"indexing {chunks:,} short chunks", "-", f"{chunks / took:.0f} chunks/s", True),
        Figure(f"a question but for its answer at {chunks:,} chunks, p95", "≤ 40 ms", f"{p95:.1f} ms", p95 <= 40),
        Figure("the same by step, p95 in ms", "-", shown, True),
    ]


def feed(servers: Servers) -> None:
    """Documents of many short sections, no two alike."""
    chance = random.Random(5)  # noqa: S311 - words, not secrets
    for number in range(DOCUMENTS):
        sections = [
            f"## {' '.join(chance.sample(WORDS, 3))} {n}\n\n{sentence(chance, number)}" for n in range(SECTIONS)
        ]
        body = {"title": f"Log {number}", "text": "\n\n".join(sections), "media_type": "text/markdown"}
        servers.request("POST", "/api/v1/documents", json=body).raise_for_status()


def sentence(chance: random.Random, number: int) -> str:
    """A dozen words."""
    return f"In log {number} the {' '.join(chance.sample(WORDS, 8))} was noted."


async def _settled(servers: Servers) -> int:
    database = Database(servers.settings.sqlalchemy_url)
    while True:
        async with database.session(reading=True) as session:
            waiting = await session.scalar(select(func.count()).where(Document.current_version_id.is_(None)))
            chunks = await session.scalar(select(func.count()).select_from(Chunk)) or 0
        if not waiting:
            await database.close()
            return chunks
        await asyncio.sleep(2)


def _ask(servers: Servers) -> list[dict[str, float]]:
    """The timings that the service itself gives, in milliseconds by step."""
    chance = random.Random(6)  # noqa: S311 - words, not secrets
    seen = []
    for _ in range(QUESTIONS + WARM_UP):
        body = {"query": f"What was noted about {' and '.join(chance.sample(WORDS, 3))}?", "use_cache": False}
        answer = servers.request("POST", "/api/v1/query", json=body)
        seen.append(answer.raise_for_status().json()["timings_ms"])
    return seen[WARM_UP:]
