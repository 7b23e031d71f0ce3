"""`python -m lab`: labs side by side, what it prints, and how it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from lab import Lab
from lab.network import HOSTS_A_LAB
from tests.lab.hosts import traces
from tests.lab.hosts.conftest import Command

pytestmark = pytest.mark.lab
LabNamer = Callable[[str], Lab]


def test_two_labs_made_at_once_keep_apart_and_leave_nothing(labs: LabNamer, command: Command) -> None:
    left, right = labs("left"), labs("right")
    line = [sys.executable, "-m", "lab", "up"]
    making = [
        subprocess.Popen([*line, lab.name, "node"], stdout=subprocess.PIPE, text=True, cwd="/") for lab in (left, right)
    ]
    printed = [process.communicate(timeout=120)[0] for process in making]
    assert [process.returncode for process in making] == [0, 0]
    addresses = [lab.host("node").address for lab in (left, right)]
    assert printed == [f"node {address}\n" for address in addresses]
    assert addresses[0].rpartition(".")[0] == addresses[1].rpartition(".")[0]
    assert len({host.network.subnet for lab in (left, right) for host in lab.hosts}) == 2
    listed = command("ls").stdout
    assert all(lab.name in listed for lab in (left, right))

    held = {lab.name: traces.of_lab(lab) for lab in (left, right)}
    assert command("down", left.name).returncode == 0
    assert traces.left(held[left.name]) == {}
    assert right.host("node").execute("true") == "", "the other lab lives on"
    assert command("down", right.name).returncode == 0
    assert traces.left(held[right.name]) == {}
    assert command("down", right.name).returncode == 0, "down of what is gone is no error"


def test_exec_hands_on_output_and_status_and_inventory_is_molecules(labs: LabNamer, command: Command) -> None:
    lab = labs("exec")
    assert command("up", lab.name, "node").returncode == 0
    said = command("exec", lab.name, "node", "--", "sh", "-c", "id -un; echo 'two  words' >&2; exit 7")
    assert (said.stdout, said.stderr, said.returncode) == ("root\n", "two  words\n", 7)

    (entry,) = json.loads(command("inventory", lab.name).stdout)
    login = ["ssh", "-i", entry["identity_file"], "-p", str(entry["port"]), "-o", "StrictHostKeyChecking=no"]
    login += ["-o", "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", f"{entry['user']}@{entry['address']}"]
    done = subprocess.run([*login, "sudo -n id -u"], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"
    assert entry["instance"] == "node"

    too_many = [f"host{number}" for number in range(HOSTS_A_LAB)]
    refused = command("up", lab.name, *too_many)
    assert refused.returncode == 1
    assert f"room for {HOSTS_A_LAB} hosts" in refused.stderr
    assert [host.name for host in lab.hosts] == ["node"], "a refused order leaves the lab as it was"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["up", "x", "node:potato"], "unknown release potato; the lab has trixie, bookworm"),
        (["up", "x", "Node_1"], "'Node_1' is no name for a host"),
        (["up", "x", "a:trixie:snap:more"], "is not NAME[:RELEASE[:SNAPSHOT]]"),
        (["up", "../etc", "node"], "'../etc' is no name for a lab"),
        (["start", "no-such-lab", "node"], "there is no lab no-such-lab"),
        (["down"], "name one lab, or --all"),
        (["exec", "x", "node"], "say which command"),
    ],
)
def test_wrong_orders_are_refused_in_one_line(command: Command, words: list[str], reason: str) -> None:
    done = command(*words)
    assert done.returncode == 1
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("words", [["up", "x", "node"], ["down", "--all"], ["doctor"]])
def test_without_root_it_names_the_way_that_needs_none(words: list[str]) -> None:
    # The interpreter and this checkout may lie where only root can read: load first, then drop the privileges.
    code = f"import os, sys, lab.cli; os.setgid(65534); os.setuid(65534); sys.exit(lab.cli.main({words!r}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    said = done.stdout + done.stderr
    assert "needs root" in said
    assert "`make serve`" in said
    assert "Traceback" not in said


@pytest.fixture
def busy_network() -> Iterator[str]:
    """A /24 that this machine already uses for something else."""
    link = f"anct{os.getpid()}"[:15]
    subprocess.run(["ip", "link", "add", link, "type", "bridge"], check=True)
    try:
        subprocess.run(["ip", "address", "add", "10.211.77.1/24", "dev", link], check=True)
        subprocess.run(["ip", "link", "set", link, "up"], check=True)
        yield "10.211.77.0/24"
    finally:
        subprocess.run(["ip", "link", "delete", link], check=True)


def test_addresses_in_use_are_not_taken(labs: LabNamer, command: Command, busy_network: str) -> None:
    lab = labs("busy")
    done = command("up", lab.name, "node", ANCHORAGE_LAB_NETWORK=busy_network)
    assert done.returncode == 1
    assert "overlaps" in done.stderr
    assert "ANCHORAGE_LAB_NETWORK" in done.stderr
    assert not lab.directory.exists()
    warned = command("doctor", ANCHORAGE_LAB_NETWORK=busy_network)
    assert "overlaps" in warned.stdout
    wrong = command("up", lab.name, "node", ANCHORAGE_LAB_NETWORK="10.0.0.0/8")
    assert "must be a /24" in wrong.stderr
