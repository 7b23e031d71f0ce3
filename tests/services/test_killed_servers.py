"""SIGKILL to the worker, the app, Postgres and Qdrant while documents are fed: none is lost, none is doubled.

`make prove PART=kills` does the same with 20 rounds and 500 documents.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.services.killing import Outcome, kill_while_feeding, settle_and_count
from tests.services.servers import Servers

pytestmark = pytest.mark.services
DOCUMENTS, ROUNDS = 60, 2


async def test_no_document_is_lost_or_doubled(tmp_path: Path) -> None:
    servers = Servers(tmp_path).start()
    try:
        accepted = kill_while_feeding(servers, DOCUMENTS, ROUNDS, seed=20261121)
        outcome = await settle_and_count(servers, accepted, DOCUMENTS, ROUNDS * 4)
    finally:
        servers.end()
    assert outcome == Outcome(accepted=DOCUMENTS, lost=0, doubled=0, kills=8)
