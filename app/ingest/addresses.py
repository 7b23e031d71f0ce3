"""Which addresses the service may fetch documents from: those of the public Internet, and those that are allowed.

By the registries of special-purpose addresses (RFC 6890 and IANA's lists). For IPv6 it is told what is public, not what
is special: whatever carries an IPv4 address inside (mapped, NAT64, 6to4, Teredo) is left out with the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_SPECIAL_V4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 "
        "192.31.196.0/24 192.52.193.0/24 192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 "
        "198.51.100.0/24 203.0.113.0/24 224.0.0.0/4 240.0.0.0/4"
    ).split()
]
_PUBLIC_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = [
    IPv6Network(network)
    # Protocol assignments with Teredo, documentation, 6to4, AS112, the former 6bone, documentation again.
    for network in "2001::/23 2001:db8::/32 2002::/16 2620:4f:8000::/48 3ffe::/16 3fff::/20".split()
]


def networks(texts: Sequence[str]) -> tuple[Network, ...]:
    """Networks in CIDR notation. Raises ValueError: one is none."""
    return tuple(ip_network(text) for text in texts)


def may_fetch(address: Address, allowed: Sequence[Network] = ()) -> bool:
    """Whether a document may come from there: it is public, or in a network that the operator allowed."""
    if any(address.version == network.version and address in network for network in allowed):
        return True
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    # With a scope it is somebody's link, whatever the number.
    public = address in _PUBLIC_V6 and address.scope_id is None
    return public and not any(address in network for network in _SPECIAL_V6)
