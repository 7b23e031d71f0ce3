"""The hosts of a lab as an Ansible inventory: what a host is for follows from its name."""

from __future__ import annotations

import re
from typing import Any

from lab.host import ssh_options
from lab.lab import Lab

GROUPS = ("edge", "app", "worker", "postgres", "redis", "qdrant", "monitoring", "backup")
# Off unless wanted.
OPTIONAL_GROUPS = ("llm",)
# Hosts with these names are one part of a service on several machines, or outside of it; any other is all of it.
PARTS: dict[str, tuple[str, ...]] = {
    "front": ("edge", "app", "worker"),
    "data": ("postgres", "redis", "qdrant", "monitoring", "backup"),
    "service": ("edge", "app", "worker", "postgres", "redis", "qdrant", "backup"),
    "watch": ("monitoring",),
    "acme": (),
}
# Somebody else's host in the same network: no part of the inventory.
NEIGHBOUR = "neighbour"
PORT_OF_ADDRESS = re.compile(r'https?://[^/\s"]+?:(\d+)')


def ansible_inventory(lab: Lab) -> dict[str, Any]:
    """Return the JSON that Ansible's script plugin reads; a lab that isn't up has no hosts."""
    entries = [entry for entry in lab.inventory() if entry["instance"] != NEIGHBOUR] if lab.exists else []
    variables = {
        entry["instance"]: {
            "ansible_host": entry["address"],
            "ansible_port": entry["port"],
            "ansible_user": entry["user"],
            "ansible_ssh_private_key_file": entry["identity_file"],
            "ansible_ssh_common_args": " ".join(ssh_options(lab.identity)[2:]),
        }
        for entry in entries
    }
    groups = {
        group: {"hosts": [name for name in variables if group in PARTS.get(name, GROUPS)]}
        for group in (*GROUPS, *OPTIONAL_GROUPS)
    }
    return {
        "_meta": {"hostvars": variables},
        "all": {
            "hosts": list(variables),
            "children": list(groups),
            "vars": {"lab_directory": str(lab.directory), **_surroundings(lab)},
        },
        **groups,
    }


def _surroundings(lab: Lab) -> dict[str, Any]:
    """What a firewall on the hosts must know: this machine's address, and unusual ports of package sources."""
    hosts = lab.hosts if lab.exists else []
    if not hosts:
        return {}
    etc = hosts[0].disk.root / "etc"
    files = [etc / "pip.conf", *etc.glob("apt/sources.list*"), *etc.glob("apt/*.d/*")]
    ports = {port for file in files if file.is_file() for port in PORT_OF_ADDRESS.findall(file.read_text())}
    return {"lab_gateway": hosts[0].network.gateway, "lab_package_ports": sorted(ports - {"80", "443"})}
