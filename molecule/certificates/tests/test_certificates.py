"""What clients see of the certificates, and who can read the keys."""

from __future__ import annotations

import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

TLS = "/etc/anchorage/tls"
PORT = 8443


def address(host: Host) -> str:
    found = host.ansible.get_variables()["ansible_host"]
    assert isinstance(found, str)
    return found


@pytest.fixture
def authority(host: Host) -> Path:
    """The authority's directory on the control node."""
    return Path(host.ansible.get_variables()["ansible_private_key_file"]).parent / "ca"


@pytest.fixture
def server(host: Host) -> Iterator[None]:
    """A TLS server with the certificate `web`."""
    with host.sudo():
        host.check_output(
            "systemd-run -q --unit=tls-server "
            f"openssl s_server -quiet -www -accept {PORT} -cert {TLS}/web.crt -key {TLS}/web.key"
        )
    deadline = time.monotonic() + 10
    while not host.socket(f"tcp://0.0.0.0:{PORT}").is_listening and not host.socket(f"tcp://:::{PORT}").is_listening:
        assert time.monotonic() < deadline, "the server does not listen"
        time.sleep(0.1)
    yield
    with host.sudo():
        host.check_output("systemctl stop tls-server")


def handshake(host: Host, name: str, trusted: Path) -> None:
    context = ssl.create_default_context(cafile=str(trusted))
    with (
        socket.create_connection((address(host), PORT), timeout=10) as raw,
        context.wrap_socket(raw, server_hostname=name),
    ):
        pass


@pytest.mark.usefixtures("server")
def test_clients_trust_it_by_every_name_and_by_no_other(host: Host, authority: Path) -> None:
    for name in ("web.lab.test", host.backend.host, address(host)):
        handshake(host, name, authority / "ca.crt")
    with pytest.raises(ssl.SSLCertVerificationError, match="mismatch"):
        handshake(host, "mail.lab.test", authority / "ca.crt")


@pytest.mark.usefixtures("server")
def test_who_does_not_know_the_authority_refuses_it(host: Host) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"self.signed|local issuer"):
        handshake(host, "web.lab.test", Path("/etc/ssl/certs/ca-certificates.crt"))


def test_authority_on_the_host_is_the_control_nodes(host: Host, authority: Path) -> None:
    assert host.file(f"{TLS}/ca.crt").content_string == (authority / "ca.crt").read_text()


def test_key_of_the_authority_is_encrypted_and_not_on_the_host(host: Host, authority: Path) -> None:
    key = authority / "ca.key"
    assert key.read_text().startswith("-----BEGIN ENCRYPTED PRIVATE KEY-----")
    assert key.stat().st_mode & 0o777 == 0o600
    with host.sudo():
        assert host.check_output(f"ls {TLS}").split() == ["ca.crt", "mail.crt", "mail.key", "web.crt", "web.key"]


def test_keys_are_for_their_owners_only(host: Host) -> None:
    with host.sudo():
        keys = {name: host.file(f"{TLS}/{name}.key") for name in ("web", "mail")}
        assert [(key.user, key.group, key.mode) for key in keys.values()] == [
            ("root", "root", 0o600),
            ("root", "mail", 0o640),
        ]
        assert host.run(f"runuser -u nobody -- cat {TLS}/web.key").rc != 0
        assert host.run(f"runuser -u nobody -g mail -- cat {TLS}/mail.key").rc == 0


def test_a_leaf_can_sign_nothing(host: Host) -> None:
    text = host.check_output(f"openssl x509 -noout -text -in {TLS}/web.crt")
    assert re.search(r"Basic Constraints: critical\s+CA:FALSE", text)
    assert "prime256v1" in text
    assert "pathlen:0" in host.check_output(f"openssl x509 -noout -text -in {TLS}/ca.crt")
