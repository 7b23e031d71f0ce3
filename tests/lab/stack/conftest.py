"""One lab VM with the whole stack on it, for all tests of this folder."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from lab.host import Host
from lab.inventory import NEIGHBOUR
from lab.lab import Lab
from lab.up import HOST, ROOT, Service, bring_up, service

BIN = Path(sys.executable).parent
FOLDER = Path(__file__).parent


@dataclass
class Stack:
    """The lab, how to play on it, and a client that trusts only its CA."""

    lab: Lab
    first_run: str

    def play(self, playbook: str, *options: str) -> subprocess.CompletedProcess[str]:
        return play(self.lab, playbook, *options)

    @property
    def host(self) -> Host:
        return self.lab.host(HOST)

    @property
    def service(self) -> Service:
        return service(self.lab)

    def ask(self, command: str) -> str:
        """What the host's root is told by a command line."""
        return self.host.execute("sh", "-c", command, root=True)

    def client(self, *, with_key: bool = True) -> httpx.Client:
        at = self.service
        headers = {"Authorization": f"Bearer {at.api_key}"} if with_key else {}
        context = ssl.create_default_context(cafile=str(at.ca_file))
        return httpx.Client(base_url=at.url, headers=headers, verify=context, timeout=30)


def play(lab: Lab, playbook: str, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook on the lab and keep what it prints."""
    return subprocess.run(
        play_command(playbook, *options),
        cwd=ROOT,
        env=play_environment(lab),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


def play_command(playbook: str, *options: str) -> list[str]:
    return [str(BIN / "ansible-playbook"), "-i", "inventories/lab", playbook, *options]


def play_environment(lab: Lab) -> dict[str, str]:
    return {**os.environ, "ANCHORAGE_LAB": lab.name, "PATH": f"{BIN}:{os.environ['PATH']}"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs the bare host comes first: it becomes the stack."""
    here = [item for item in items if isinstance(item, pytest.Function) and item.path.parent == FOLDER]
    in_order = iter(sorted(here, key=lambda item: "stack" in item.fixturenames))
    items[:] = [next(in_order) if item in here else item for item in items]


@pytest.fixture(scope="session")
def bare_lab() -> Iterator[Lab]:
    lab = Lab("stack-test")
    lab.down()
    try:
        bring_up(lab)
        yield lab
    finally:
        lab.down()


@pytest.fixture(scope="session")
def stack(bare_lab: Lab) -> Stack:
    first = play(bare_lab, "site.yml")
    assert first.returncode == 0, f"site.yml failed:\n{first.stdout[-6000:]}"
    return Stack(bare_lab, first.stdout)


@pytest.fixture(scope="session")
def neighbour(stack: Stack) -> Iterator[Host]:
    """A host that is no part of the inventory."""
    (host,) = stack.lab.up([(NEIGHBOUR, "trixie")])
    yield host
    host.stop()
