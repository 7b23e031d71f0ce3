"""Who can talk to the edge, and how."""

from __future__ import annotations

import socket
import ssl

import httpx
import pytest
from conftest import NAME, Edge


def negotiate(edge: Edge, context: ssl.SSLContext, name: str = NAME) -> ssl.SSLSocket:
    with socket.create_connection((edge.address, 443), timeout=10) as plain:
        return context.wrap_socket(plain, server_hostname=name)


def test_plain_http_is_sent_to_https_with_path_and_method(edge: Edge) -> None:
    answer = httpx.post(f"http://{edge.address}/api/v1/query?a=1", headers={"Host": NAME}, trust_env=False)
    assert answer.status_code == 308
    assert answer.headers["location"] == f"https://{NAME}/api/v1/query?a=1"


def test_certificate_is_good_for_name_and_address_only(edge: Edge) -> None:
    negotiate(edge, edge.context())
    negotiate(edge, edge.context(), edge.address)
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        negotiate(edge, edge.context(), "other.lab.test")


def test_modern_protocols_and_http2(edge: Edge) -> None:
    context = edge.context()
    context.set_alpn_protocols(["h2", "http/1.1"])
    secure = negotiate(edge, context)
    assert (secure.version(), secure.selected_alpn_protocol()) == ("TLSv1.3", "h2")
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    secure = negotiate(edge, context)
    assert secure.version() == "TLSv1.2"
    cipher = secure.cipher()
    assert cipher is not None
    assert cipher[0].startswith("ECDHE-")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tls_1_1_is_refused_by_the_edge(edge: Edge) -> None:
    context = edge.context()
    # The client allows it, so that it is the edge who refuses.
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    with pytest.raises(ssl.SSLError, match=r"(?i)alert protocol version"):
        negotiate(edge, context)


def test_weak_cipher_is_refused(edge: Edge) -> None:
    context = edge.context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("ECDHE-ECDSA-AES128-SHA:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"(?i)handshake failure"):
        negotiate(edge, context)


def test_unknown_names_get_no_answer(edge: Edge) -> None:
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        edge.get("/", name="other.lab.test")
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        httpx.get(f"http://{edge.address}/", headers={"Host": "other.lab.test"}, trust_env=False)
