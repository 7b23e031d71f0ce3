"""What somebody in the same network finds: the public ports, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lab.host import Host
from lab.inventory import NEIGHBOUR
from tests.lab.scan import install, open_ports
from tests.lab.stack.conftest import Stack

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def neighbour(stack: Stack) -> Iterator[Host]:
    """A host that is no part of the inventory."""
    (host,) = stack.lab.up([(NEIGHBOUR, "trixie")])
    install(host)
    yield host
    host.stop()


def test_a_neighbour_finds_ssh_and_the_public_pages_only(stack: Stack, neighbour: Host) -> None:
    assert open_ports(neighbour, stack.host.address) == {"tcp/22", "tcp/80", "tcp/443"}
