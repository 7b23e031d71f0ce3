"""What a neighbour finds open on a host: nmap, run on another host of the same lab."""

from __future__ import annotations

import re

from lab.host import Host

FOUND = re.compile(r"(\d+)/open/(tcp|udp)/")


def install(neighbour: Host) -> None:
    """Debian's nmap; only a lab host ever runs it, against hosts of its own lab."""
    script = "apt-get -qq update && apt-get -qq install --no-install-recommends nmap >/dev/null"
    neighbour.execute("sh", "-ec", f"command -v nmap >/dev/null || {{ {script}; }}", root=True)


def open_ports(neighbour: Host, address: str, *, tcp: str = "-", top_udp: int = 100, retries: int = 1) -> set[str]:
    """Ports that answered, such as `tcp/22`: of TCP (`-` means all), and of the ``top_udp`` most common of UDP.

    Silence is no answer: nmap calls a UDP port that says nothing `open|filtered`, which is not counted.
    """
    nmap = ["nmap", "-n", "-Pn", "-T4", "-oG", "-", f"--max-retries={retries}"]
    udp = ["-sU", f"--top-ports={top_udp}", "--min-rate=500", "--defeat-icmp-ratelimit"]
    said = neighbour.execute(*nmap, "-sS", f"-p{tcp}", "--min-rate=10000", address, root=True)
    said += neighbour.execute(*nmap, *udp, address, root=True)
    return {f"{protocol}/{port}" for port, protocol in FOUND.findall(said)}
