"""What one host lets in and out, made of what the roles of the project declare in their `meta/firewall.yml`."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: firewall_policy
author: The Anchorage authors
short_description: What one host lets in and out
description:
  - Reads who needs what, to whom, from every role's meta/firewall.yml, and returns the rules of this host.
options:
  _terms:
    description: The folder of the roles.
    required: true
  flows:
    description: Further connections, in the roles' form; one of the same name replaces a declared one.
    type: list
    default: []
  ssh_from:
    description: Networks that SSH is open to.
    type: list
    default: []
  ssh_operators:
    description: Networks whose log-ins are never slowed.
    type: list
    default: []
"""

ANYWHERE = "anywhere"

Flow = Mapping[str, Any]
Addresses = dict[str, list[str]]


class LookupModule(LookupBase):  # type: ignore[misc]  # Ansible carries no types
    """`lookup('firewall_policy', ROLES, flows=…, ssh_from=…, ssh_operators=…)`."""

    def run(self, terms: Sequence[str], variables: Mapping[str, Any] | None = None, **kwargs: Any) -> list[Any]:
        """Return one mapping: rules `incoming` and `outgoing`; addresses `ssh_from`, `ssh_operators` by family.

        Raises:
            AnsibleError: a flow or an address can't be understood; the message names it and what to write.
        """
        self.set_options(var_options=variables, direct=kwargs)
        flows, defaults = declared(Path(terms[0]))
        inventory = Inventory(variables or {}, defaults)
        own = self.get_option("flows")
        for flow in own:
            inventory.require_known(flow)
        chosen = {**flows, **{flow["name"]: flow for flow in own}}.values()
        return [
            {
                "incoming": [rule for flow in chosen for rule in inventory.incoming(flow)],
                "outgoing": [rule for flow in chosen for rule in inventory.outgoing(flow)],
                "ssh_from": by_family(self.get_option("ssh_from"), "firewall_ssh_from"),
                "ssh_operators": by_family(self.get_option("ssh_operators"), "firewall_ssh_operators"),
            }
        ]


def declared(roles: Path) -> tuple[dict[str, Flow], dict[str, Any]]:
    """Flows of all roles by name, and the defaults of those roles' variables."""
    flows: dict[str, Flow] = {}
    defaults: dict[str, Any] = {}
    for file in sorted(roles.glob("*/meta/firewall.yml")):
        flows |= {flow["name"]: flow for flow in yaml.safe_load(file.read_text())}
        defaults |= yaml.safe_load((file.parents[1] / "defaults/main.yml").read_text())
    return flows, defaults


class Inventory:
    """The hosts that the play knows, seen from the one that is being configured."""

    def __init__(self, variables: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
        self._name: str = variables["inventory_hostname"]
        self._groups: Mapping[str, Sequence[str]] = variables["groups"]
        self._hostvars: Mapping[str, Mapping[str, Any]] = variables["hostvars"]
        self._defaults = defaults

    def require_known(self, flow: Flow) -> None:
        """Raise AnsibleError when a flow of the inventory leads from or to what nobody knows."""
        what = f"firewall_flows, '{flow['name']}': `anywhere`, a group of the inventory"
        by_family((name for name in (*flow["from"], *flow["to"]) if name not in (ANYWHERE, *self._groups)), what)

    def incoming(self, flow: Flow) -> Iterator[dict[str, Any]]:
        """Rules for what arrives, where the flow leads to this host."""
        if any(self._name in self._groups.get(name, ()) for name in flow["to"]):
            yield from self._rules(flow, peers=flow["from"], servers=[self._name])

    def outgoing(self, flow: Flow) -> Iterator[dict[str, Any]]:
        """Rules for what leaves, where the flow starts from this host."""
        if any(self._name in self._groups.get(name, ()) for name in flow["from"]):
            yield from self._rules(flow, peers=flow["to"], servers=self._others(flow["to"]) or [self._name])

    def _rules(self, flow: Flow, peers: Sequence[str], servers: Sequence[str]) -> Iterator[dict[str, Any]]:
        """One rule a protocol and address family; none where all peers are this host itself."""
        addresses = {"": [""]} if ANYWHERE in peers else self._addresses(peers, flow["name"])
        for protocol in ("tcp", "udp"):
            ports = {self._port(port, host) for port in flow.get(protocol) or () for host in servers}
            for family, found in addresses.items():
                if ports and found:
                    yield {
                        "name": flow["name"],
                        "protocol": protocol,
                        "ports": sorted(ports),
                        "family": family,
                        "addresses": found,
                    }

    def _others(self, names: Iterable[str]) -> list[str]:
        """Hosts of groups but for this one; a group that the inventory doesn't have is empty."""
        return list(dict.fromkeys(host for name in names for host in self._groups.get(name, ()) if host != self._name))

    def _addresses(self, names: Sequence[str], flow: str) -> Addresses:
        found = [name for name in names if name not in self._groups and set(name) & set(".:")]
        for host in self._others(names):
            known = self._hostvars[host]
            seen_by = known.get("firewall_addresses") or [known.get("ansible_host", host)]
            by_family(seen_by, f"{host} ({flow}): set its ansible_host, or firewall_addresses, in the inventory")
            found += seen_by
        return by_family(found, flow)

    def _port(self, port: str | int, host: str) -> int:
        """A port, or what the inventory or else the role says of the variable of that name."""
        text = str(port)
        if not text.isdecimal():
            text = str(self._hostvars[host].get(text, self._defaults.get(text, "")))
        if not text.isdecimal() or not 0 < int(text) < 65536:
            raise AnsibleError(f"the firewall knows no port '{port}' for {host}: give a number, or a variable with one")
        return int(text)


def by_family(addresses: Iterable[str], what: str) -> Addresses:
    """Addresses and networks, apart by nftables' families, without doubles and overlaps.

    Raises:
        AnsibleError: one is neither; ``what`` says where it stands.
    """
    v4, v6 = [], []
    for text in addresses:
        try:
            network = ipaddress.ip_network(str(text))
        except ValueError as error:
            raise AnsibleError(f"{what}: expected an IP address or network, such as 10.0.0.0/24; {error}") from error
        if isinstance(network, ipaddress.IPv4Network):
            v4.append(network)
        else:
            v6.append(network)
    return {
        "ip": [str(network) for network in ipaddress.collapse_addresses(v4)],
        "ip6": [str(network) for network in ipaddress.collapse_addresses(v6)],
    }
