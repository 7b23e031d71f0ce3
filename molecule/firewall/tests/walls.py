"""The scenario's hosts as a tester sees them: listeners on any port, connections tried, and the role run once more."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import Host, Lab, LabError
from lab.system import run

SCENARIO = Path(__file__).resolve().parents[1]
LAB = Lab(f"mol-{os.environ['MOLECULE_SCENARIO_NAME']}")
# Answers on each port with the protocol's name, on all addresses of both families.
LISTENER = """
import selectors, socket, sys
ready = selectors.DefaultSelector()
for word in sys.argv[1:]:
    protocol, port = word.split("/")
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    heard = socket.socket(socket.AF_INET6, kind)
    heard.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    heard.bind(("::", int(port)))
    if protocol == "tcp":
        heard.listen()
    ready.register(heard, selectors.EVENT_READ, protocol)
while True:
    for key, _ in ready.select():
        if key.data == "tcp":
            client, _ = key.fileobj.accept()
            client.sendall(b"tcp")
            client.close()
        else:
            _, sender = key.fileobj.recvfrom(2048)
            key.fileobj.sendto(b"udp", sender)
"""


@contextmanager
def listening(host: Host, *ports: str) -> Iterator[None]:
    """Whatever an administrator might start: it listens on ports such as `tcp/9999` while the block runs."""
    host.execute("systemd-run", "--quiet", "--unit=listener", "python3", "-c", LISTENER, *ports, root=True)
    try:
        yield
    finally:
        host.execute("systemctl", "stop", "listener", root=True)


def reaches(host: Host, address: str, port: int, *, timeout_s: float = 2) -> str:
    """`yes`; or why not, as the kernel says it: `timed out`, `No route to host`, `Connection refused`."""
    program = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))"
    try:
        host.execute("python3", "-c", program, address, str(port), str(timeout_s))
    except LabError as error:
        return str(error).splitlines()[-1].rsplit(": ", 1)[-1].split("] ")[-1]
    return "yes"


def counted(host: Host, counter: str) -> int:
    """Packets of a named counter."""
    told = json.loads(host.execute("nft", "--json", "list", "counter", "inet", "anchorage", counter, root=True))
    return int(told["nftables"][-1]["counter"]["packets"])


def rules(host: Host) -> str:
    """The rules in force, and those that the next boot loads."""
    script = "nft --stateless --terse list table inet anchorage; cat /etc/nftables.conf"
    return host.execute("sh", "-ec", script, root=True)


def from_within(host: Host, *command: str) -> str:
    """Run a command on a host by its console, so to speak: without the network."""
    return run("nsenter", "-t", str(host.leader), "-a", *command)


def converge(host: Host, **variables: Any) -> subprocess.CompletedProcess[str]:
    """The scenario's playbook once more, on one host, with other variables."""
    return subprocess.run(_playbook(host, variables), capture_output=True, text=True, timeout=180, check=False)  # noqa: S603


@contextmanager
def converging(host: Host, **variables: Any) -> Iterator[None]:
    """The same, under way while the block runs, and broken off then."""
    play = subprocess.Popen(_playbook(host, variables), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
    try:
        yield
    finally:
        play.terminate()
        play.wait(timeout=30)


def _playbook(host: Host, variables: dict[str, Any]) -> list[str]:
    command = ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], str(SCENARIO / "converge.yml")]
    return [*command, "--limit", host.name, "-e", json.dumps(variables)]
