"""What somebody in the same network finds: the public ports, and nothing else."""

from __future__ import annotations

import pytest

from lab.host import Host
from tests.lab.scan import install, open_ports
from tests.lab.stack.conftest import Stack

pytestmark = pytest.mark.lab


def test_a_neighbour_finds_ssh_and_the_public_pages_only(stack: Stack, neighbour: Host) -> None:
    install(neighbour)
    assert open_ports(neighbour, stack.host.address) == {"tcp/22", "tcp/80", "tcp/443"}
