"""Requests to the service of this host, by its own interpreter, until it is stopped. It needs root.

    load.py [--questions R] [--passing R] [--provider NAME] [--cached SECONDS] [--held SECONDS --free SECONDS]

``--questions`` a second, each another one and whether or not the former are answered; ``--passing`` requests a second
that succeed and cost little; ``--cached``: for so long the same question, then different ones, all by the cache;
``--held``: the database holds up all who look for a collection for so long, lets them go for ``--free``, and so on.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from pathlib import Path
from uuid import uuid4

import httpx

URL = "http://127.0.0.1:8001"
KEY = Path("/etc/anchorage/credentials/admin_api_key")
IN_FLIGHT = 60
PATIENCE_S = 60
LOCK = b"begin; lock table collections in access exclusive mode;\n"


def main() -> None:
    """Read what is wanted, and the key."""
    parser = argparse.ArgumentParser()
    for name in ("questions", "passing", "cached", "held", "free"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    parser.add_argument("--provider", default="extractive")
    options = parser.parse_args()
    asyncio.run(_all(options, KEY.read_text().strip()))


async def _all(options: argparse.Namespace, key: str) -> None:
    """Begin all that is asked for; the first that fails ends the rest."""
    headers = {"Authorization": f"Bearer {key}"}
    limits = httpx.Limits(max_connections=IN_FLIGHT)
    async with (
        httpx.AsyncClient(base_url=URL, headers=headers, timeout=PATIENCE_S, limits=limits) as client,
        asyncio.TaskGroup() as tasks,
    ):
        if options.questions:
            tasks.create_task(_ask(client, options))
        if options.passing:
            tasks.create_task(_pass(client, options.passing))
        if options.held:
            tasks.create_task(_hold_up(options.held, options.free))


async def _ask(client: httpx.AsyncClient, options: argparse.Namespace) -> None:
    began = time.monotonic()
    room = asyncio.Semaphore(IN_FLIGHT)
    async with asyncio.TaskGroup() as asked:
        while True:
            same = time.monotonic() - began < options.cached
            question = "How is a backup taken?" if same else f"How is a backup taken, and what is {uuid4().hex[:6]}?"
            body = {"query": question, "provider": options.provider, "use_cache": bool(options.cached)}
            await room.acquire()
            asked.create_task(_post(client, body)).add_done_callback(lambda _: room.release())
            await asyncio.sleep(1 / options.questions)


async def _post(client: httpx.AsyncClient, body: dict[str, object]) -> None:
    try:
        await client.post("/api/v1/query", json=body)
    except httpx.TransportError:
        # The service is away or too slow: this is what is caused.
        return


async def _pass(client: httpx.AsyncClient, rate: float) -> None:
    due = time.monotonic()
    while True:
        answer = await client.get("/api/v1/nothing")
        if answer.status_code != httpx.codes.NOT_FOUND:
            raise SystemExit(f"{answer.status_code} where 404 was expected")
        due += 1 / rate
        await asyncio.sleep(max(0.0, due - time.monotonic()))


async def _hold_up(held_s: float, free_s: float) -> None:
    words = ("runuser", "-u", "postgres", "--", "psql", "-q", "-v", "ON_ERROR_STOP=1", "-d", "anchorage")
    while True:
        psql = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.PIPE, cwd="/")
        if psql.stdin is None:
            raise SystemExit("no way to psql")
        # Whoever follows the runbook ends it; it comes again, as such clients do.
        with contextlib.suppress(ConnectionError):
            while psql.returncode is None:
                for command, lasts_s in ((LOCK, held_s), (b"rollback;\n", free_s)):
                    psql.stdin.write(command)
                    await psql.stdin.drain()
                    await asyncio.sleep(lasts_s)
        await psql.wait()


if __name__ == "__main__":
    main()
