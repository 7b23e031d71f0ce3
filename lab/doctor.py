"""What will make trouble on a machine that can carry a lab, and what to do about it."""

from __future__ import annotations

import json
import shutil

from lab.network import conflicts, network_range
from lab.system import STATE, missing_packages, run

MIN_FREE_BYTES = 2 * 1024**3


def warnings() -> list[str]:
    """What will make trouble later, each with its cure; only asked where there is no obstacle."""
    found = []
    missing = missing_packages()
    if missing:
        found.append(f"Debian packages will be installed at first use: {' '.join(missing)}.")
    free = shutil.disk_usage(STATE if STATE.exists() else "/var/lib").free
    if free < MIN_FREE_BYTES:
        found.append(f"Only {free // 1024**2} MiB are free below {STATE}: two images and their hosts need 2 GiB.")
    if shutil.which("ip"):
        found += [f"{text} Set ANCHORAGE_LAB_NETWORK to a free /24." for text in conflicts(network_range())]
    if shutil.which("nft"):
        found += _forwarding_refused()
    return found


def _forwarding_refused() -> list[str]:
    """Another program's firewall that drops what is forwarded (Docker's does) cuts hosts off from outside."""
    listed = json.loads(run("nft", "-j", "list", "chains"))["nftables"]
    chains = [entry["chain"] for entry in listed if "chain" in entry]
    return [
        f"The firewall drops forwarded packets (table {chain['table']}, chain {chain['name']}): hosts will not reach "
        f"package sources. With Docker: iptables -I DOCKER-USER -s {network_range()} -j ACCEPT; "
        f"iptables -I DOCKER-USER -d {network_range()} -j ACCEPT."
        for chain in chains
        if chain.get("hook") == "forward" and chain.get("policy") == "drop"
    ]
