"""Documents under fire: every process of server mode is killed in every round while they are fed."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.prove.scorecard import Figure
from tests.services.killing import kill_while_feeding, settle_and_count
from tests.services.servers import Servers

DOCUMENTS, ROUNDS = 500, 20


def measure() -> list[Figure]:
    """On loopback, with processes that are really killed and really started again."""
    with tempfile.TemporaryDirectory(prefix="anchorage-kills-") as directory:
        servers = Servers(Path(directory)).start()
        try:
            accepted = kill_while_feeding(servers, DOCUMENTS, ROUNDS, seed=7)
            outcome = asyncio.run(settle_and_count(servers, accepted, DOCUMENTS, ROUNDS * 4))
        finally:
            servers.end()
    what = f"{ROUNDS} rounds of SIGKILL on worker, app, Postgres and Qdrant while {DOCUMENTS} documents are fed"
    said = f"{outcome.lost} lost, {outcome.doubled} doubled, {outcome.kills} kills"
    return [Figure(what, "0 lost, 0 doubled", said, outcome.lost == outcome.doubled == 0)]
