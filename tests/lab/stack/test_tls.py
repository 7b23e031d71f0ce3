"""The edge's TLS, rated by testssl.sh from the neighbour."""

from __future__ import annotations

import pytest

from lab.host import Host
from tests.lab.stack.conftest import Stack
from tests.lab.tls import install, rate

pytestmark = pytest.mark.lab
# The internal authority has no revocation list (roles/certificates says why); public ones have.
OF_THE_INTERNAL_AUTHORITY = {"cert_revocation"}


def test_the_edge_gets_the_best_grade(stack: Stack, neighbour: Host) -> None:
    install(neighbour)
    name = f"{stack.host.name}.lab.test"
    verdict = rate(neighbour, stack.host.address, name, stack.service.ca_file.read_text())
    assert verdict.grade == "A+"
    assert set(verdict.findings) <= OF_THE_INTERNAL_AUTHORITY
