"""Which addresses a document may be fetched from."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.ingest.addresses import may_fetch, networks

PUBLIC = "1.1.1.1 93.184.215.14 100.63.255.255 172.15.0.1 172.32.0.1 223.255.255.255 2606:4700::1111 2a00:1450::8"
FORBIDDEN = (
    "0.0.0.0 0.1.2.3 10.0.0.1 100.64.0.1 127.0.0.1 127.255.255.255 169.254.169.254 172.16.0.1 172.31.255.255 "
    "192.0.0.8 192.0.2.1 192.88.99.1 192.168.1.1 198.18.0.1 198.51.100.7 203.0.113.9 224.0.0.1 239.1.1.1 240.0.0.1 "
    "255.255.255.255 :: ::1 ::ffff:10.0.0.1 ::ffff:1.1.1.1 ::127.0.0.1 64:ff9b::7f00:1 64:ff9b::101:101 64:ff9b:1::1 "
    "100::1 2001::1 2001:db8::1 2002:7f00:1::1 2002:101:101::1 3fff::1 5f00::1 fc00::1 fd12::1 fe80::1 fe80::1%1 "
    "fec0::1 ff02::1 2606:4700::1111%1"
)


@pytest.mark.parametrize("text", PUBLIC.split())
def test_public_addresses_may(text: str) -> None:
    assert may_fetch(ip_address(text))


@pytest.mark.parametrize("text", FORBIDDEN.split())
def test_special_addresses_may_not(text: str) -> None:
    assert not may_fetch(ip_address(text))


@given(st.ip_addresses(v=4))
def test_what_python_calls_not_global_is_never_fetched_from(address: IPv4Address) -> None:
    if not address.is_global or address.is_multicast or address.is_reserved:
        assert not may_fetch(address)


@given(st.ip_addresses(v=6))
def test_nothing_in_ipv6_is_fetched_from_but_its_public_part(address: IPv6Address) -> None:
    if may_fetch(address):
        assert address.is_global
        assert not any((address.is_multicast, address.is_site_local, address.is_link_local))
        assert (address.ipv4_mapped, address.sixtofour, address.teredo) == (None, None, None)


@given(st.ip_addresses(v=4), st.sampled_from(["::ffff:0:0", "::", "64:ff9b::"]))
def test_an_ipv4_address_gains_nothing_by_an_ipv6_coat(inner: IPv4Address, prefix: str) -> None:
    assert not may_fetch(IPv6Address(int(IPv6Address(prefix)) | int(inner)))
    assert not may_fetch(IPv6Address((0x2002 << 112) | (int(inner) << 80)))


def test_the_operators_own_networks_may_and_only_those() -> None:
    allowed = networks(["10.1.0.0/16", "fd00:1::/32"])
    assert may_fetch(ip_address("10.1.2.3"), allowed)
    assert may_fetch(ip_address("fd00:1::5"), allowed)
    assert not may_fetch(ip_address("10.2.0.1"), allowed)
    assert not may_fetch(ip_address("::ffff:10.1.2.3"), allowed)
    with pytest.raises(ValueError, match="host bits"):
        networks(["10.1.2.3/16"])
