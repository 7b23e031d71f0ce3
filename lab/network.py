"""One small network a lab: a bridge with a /28 of its own, and a way out by address translation."""

from __future__ import annotations

import ipaddress
import json
import os
import subprocess
from pathlib import Path

from lab.system import STATE, LabError, locked, run

DEFAULT_RANGE = "10.88.0.0/24"
SLOTS = 16
HOSTS_A_LAB = 13
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
PREFIX = "anclab"


def network_range() -> ipaddress.IPv4Network:
    """The /24 that all labs share: ANCHORAGE_LAB_NETWORK, else a default.

    Raises:
        LabError: the variable is no /24.
    """
    text = os.environ.get("ANCHORAGE_LAB_NETWORK", DEFAULT_RANGE)
    try:
        network = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise LabError(
            f"ANCHORAGE_LAB_NETWORK={text} is no network ({error}); give one like {DEFAULT_RANGE}"
        ) from error
    if network.prefixlen != 24:
        raise LabError(f"ANCHORAGE_LAB_NETWORK={text} must be a /24, like {DEFAULT_RANGE}")
    return network


def conflicts(network: ipaddress.IPv4Network) -> list[str]:
    """Routes of this machine, not made by a lab, that lead into a network."""
    found = []
    for route in json.loads(run("ip", "-4", "-j", "route") or "[]"):
        target, device = route["dst"], route.get("dev", "")
        if target == "default" or device.startswith(PREFIX):
            continue
        if ipaddress.IPv4Network(target, strict=False).overlaps(network):
            found.append(f"The network {target} on {device} overlaps the lab's {network}.")
    return found


class Network:
    """The network of one slot, 0 to 15; address 1 is this machine, 2 to 14 are hosts."""

    def __init__(self, slot: int, subnet: ipaddress.IPv4Network) -> None:
        self.slot = slot
        self.subnet = subnet
        self.bridge = f"{PREFIX}{slot}"
        self.table = f"{PREFIX}{slot}"
        self.gateway = str(subnet[1])

    @staticmethod
    def for_slot(slot: int) -> Network:
        """A new lab's network.

        Raises:
            LabError: this machine already uses these addresses for something else.
        """
        subnet = list(network_range().subnets(new_prefix=28))[slot]
        found = conflicts(subnet)
        if found:
            raise LabError(f"{' '.join(found)} Set ANCHORAGE_LAB_NETWORK to a free /24.")
        return Network(slot, subnet)

    def address(self, index: int) -> str:
        """Address of host number ``index``, counted from 0."""
        return str(self.subnet[index + 2])

    def up(self) -> None:
        """Make the bridge and the translation (idempotent)."""
        if not Path(f"/sys/class/net/{self.bridge}").exists():
            run("ip", "link", "add", self.bridge, "type", "bridge")
        if f"{self.gateway}/28" not in run("ip", "-4", "address", "show", "dev", self.bridge):
            run("ip", "address", "add", f"{self.gateway}/28", "dev", self.bridge)
        run("ip", "link", "set", self.bridge, "up")
        rules = f"""
table ip {self.table}
delete table ip {self.table}
table ip {self.table} {{
  chain postrouting {{
    type nat hook postrouting priority 100
    ip saddr {self.subnet} ip daddr != {self.subnet} masquerade
  }}
}}
"""
        run("nft", "-f", "-", stdin=rules)
        _forward()

    def down(self) -> None:
        """Leave nothing behind."""
        if Path(f"/sys/class/net/{self.bridge}").exists():
            run("ip", "link", "delete", self.bridge)
        listed = subprocess.run(["nft", "list", "table", "ip", self.table], capture_output=True, check=False)  # noqa: S603, S607
        if listed.returncode == 0:
            run("nft", "delete", "table", "ip", self.table)


def _forward() -> None:
    """Let this machine pass packets on, and remember whether it did before."""
    with locked("forwarding"):
        before = STATE / "ip_forward.before"
        if not before.exists():
            before.write_text(FORWARDING.read_text())
        FORWARDING.write_text("1")


def stop_forwarding() -> None:
    """Put back what was before the first lab."""
    with locked("forwarding") as lock:
        before = STATE / "ip_forward.before"
        if before.exists():
            FORWARDING.write_text(before.read_text())
            before.unlink()
        lock.unlink()


def interface(machine: str) -> str:
    """This machine's end of a machine's cable."""
    return f"vb-{machine}"


def set_link(machine: str, *, up: bool) -> None:
    """Plug or pull the cable of a machine."""
    run("ip", "link", "set", interface(machine), "up" if up else "down")


def remove_link(machine: str) -> None:
    """Remove a cable that a system killed in mid-boot left behind.

    The kernel removes the cable of a system that ended, a moment after its last process: that may be just now.
    """
    cable = Path(f"/sys/class/net/{interface(machine)}")
    try:
        if cable.exists():
            run("ip", "link", "delete", interface(machine))
    except LabError:
        if cable.exists():
            raise
