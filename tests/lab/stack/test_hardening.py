"""The provisioned VM as tools that others wrote see it from inside; docs/hardening.md says what they may find."""

from __future__ import annotations

import pytest

from tests.hardening import accepted_findings, audit, breaches, exposures, services, without_floor
from tests.lab.stack.conftest import Stack

pytestmark = pytest.mark.lab
LEAST_INDEX = 85


def test_every_service_of_the_host_has_a_sandbox_within_its_bound(stack: Stack) -> None:
    found = exposures(stack.ask, services(stack.ask))
    assert {"nginx.service", "qdrant.service", "redis-server.service", "anchorage-worker.service"} <= set(found)
    assert breaches(found) == []
    assert without_floor(stack.ask, set(found)) == set()


def test_lynis_gives_a_good_index_and_finds_only_what_has_a_reason(stack: Stack) -> None:
    found = audit(stack.ask)
    assert found.findings <= set(accepted_findings())
    assert found.index >= LEAST_INDEX
