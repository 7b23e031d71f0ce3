"""One small network a lab: a bridge with a /28 of its own, and a way out by address translation."""

from __future__ import annotations

import ipaddress
import subprocess
from pathlib import Path

from lab.system import LabError, run

SUBNETS = list(ipaddress.IPv4Network("10.88.0.0/24").subnets(new_prefix=28))


class Network:
    """The network of slot 0 to 15; address 1 is this machine, 2 to 14 are hosts."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.subnet = SUBNETS[slot]
        self.bridge = f"anclab{slot}"
        self.table = f"anclab{slot}"
        self.gateway = str(self.subnet[1])

    def address(self, index: int) -> str:
        """Address of host number ``index``, counted from 0."""
        if not 0 <= index < 13:
            raise LabError("a lab has room for 13 hosts")
        return str(self.subnet[index + 2])

    def up(self) -> None:
        """Make the bridge and the translation (idempotent)."""
        if not Path(f"/sys/class/net/{self.bridge}").exists():
            run("ip", "link", "add", self.bridge, "type", "bridge")
            run("ip", "address", "add", f"{self.gateway}/28", "dev", self.bridge)
            run("ip", "link", "set", self.bridge, "up")
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
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

    def down(self) -> None:
        """Leave nothing behind."""
        if Path(f"/sys/class/net/{self.bridge}").exists():
            run("ip", "link", "delete", self.bridge)
        listed = subprocess.run(["nft", "list", "table", "ip", self.table], capture_output=True, check=False)  # noqa: S603, S607
        if listed.returncode == 0:
            run("nft", "delete", "table", "ip", self.table)


def set_link(machine: str, *, up: bool) -> None:
    """Plug or pull the cable of a machine."""
    run("ip", "link", "set", f"vb-{machine}", "up" if up else "down")
