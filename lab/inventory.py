"""The hosts of a lab as an Ansible inventory: what a host is for follows from its name."""

from __future__ import annotations

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
    "acme": (),
}


def ansible_inventory(lab: Lab) -> dict[str, Any]:
    """Return the JSON that Ansible's script plugin reads; a lab that isn't up has no hosts."""
    entries = lab.inventory() if lab.exists else []
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
        "all": {"hosts": list(variables), "children": list(groups), "vars": {"lab_directory": str(lab.directory)}},
        **groups,
    }
