"""What a host lets in and out, by the inventory and the roles' own declarations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible.errors import AnsibleError

from roles.firewall.lookup_plugins.firewall_policy import Inventory, declared

ROLES = Path(__file__).resolve().parents[3] / "roles"
ADDRESSES = {"front": "10.0.0.1", "data": "10.0.0.2"}
SERVICES = {"edge": ["front"], "app": ["front"], "worker": ["front"]}
STORES = {"postgres": ["data"], "redis": ["data"], "qdrant": ["data"]}


def policy(host: str, groups: dict[str, list[str]], **hostvars: dict[str, Any]) -> dict[str, list[tuple[Any, ...]]]:
    """Rules of the project's roles, as (name, ports, addresses)."""
    flows, defaults = declared(ROLES)
    known = {name: {"ansible_host": address, **hostvars.get(name, {})} for name, address in ADDRESSES.items()}
    variables = {"inventory_hostname": host, "groups": {"all": list(known), **groups}, "hostvars": known}
    inventory = Inventory(variables, defaults)
    return {
        direction: [
            (rule["name"], rule["ports"], rule["addresses"]) for flow in flows.values() for rule in choose(flow)
        ]
        for direction, choose in (("in", inventory.incoming), ("out", inventory.outgoing))
    }


def test_one_host_that_is_everything_opens_its_public_pages_only() -> None:
    groups = {group: ["front"] for group in (*SERVICES, *STORES)}
    rules = policy("front", groups)
    assert rules["in"] == [("the public pages", [80, 443], [""])]
    assert all(addresses == [""] for _, _, addresses in rules["out"])


def test_a_declared_port_is_opened_at_both_ends_and_as_the_server_has_it() -> None:
    groups, on_another_port = {**SERVICES, **STORES}, {"postgres_port": 5433}
    assert ("Postgres", [5433], ["10.0.0.1/32"]) in policy("data", groups, data=on_another_port)["in"]
    assert ("Postgres", [5433], ["10.0.0.2/32"]) in policy("front", groups, data=on_another_port)["out"]
    assert [name for name, _, _ in policy("data", groups)["in"]] == ["Postgres", "Qdrant", "Redis"]


def test_a_host_is_known_by_the_addresses_that_the_inventory_gives_it() -> None:
    private = {"ansible_host": "front.example.org", "firewall_addresses": ["10.1.0.1", "fd00::1"]}
    rules = policy("data", {**SERVICES, **STORES}, front=private)["in"]
    assert [addresses for name, _, addresses in rules if name == "Redis"] == [["10.1.0.1/32"], ["fd00::1/128"]]


def test_a_name_is_no_address_and_the_cure_is_told() -> None:
    with pytest.raises(AnsibleError, match=r"front \(Postgres\): set its ansible_host, or firewall_addresses"):
        policy("data", {**SERVICES, **STORES}, front={"ansible_host": "front.example.org"})
