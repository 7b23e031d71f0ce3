"""An edge whose certificate comes from a lab's ACME server, and its clients, who trust that server's root only."""

from __future__ import annotations

import json
import os
import shlex
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

SCENARIO = Path(__file__).resolve().parents[1]
UPSTREAM = SCENARIO.parent / "nginx/tests/upstream.py"
METRICS = "/var/lib/prometheus/node-exporter/anchorage_public_certificate.prom"
Converge = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class Edge:
    """The edge as clients see it; ``internal`` is the inventory's own authority."""

    name: str
    address: str
    root: Path
    internal: Path

    def context(self, trusted: Path | None = None) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(trusted or self.root))

    def served(self, trusted: Path | None = None, name: str = "") -> dict[str, Any]:
        """The certificate that a client gets and verifies. Raises ssl.SSLCertVerificationError."""
        with (
            socket.create_connection((self.address, 443), timeout=10) as plain,
            self.context(trusted).wrap_socket(plain, server_hostname=name or self.name) as secure,
        ):
            return dict(secure.getpeercert() or {})

    def serial(self) -> str:
        """Of what a new client gets; a reload's old workers are gone after a moment."""
        time.sleep(1)
        return str(self.served()["serialNumber"])


@pytest.fixture
def edge(host: Host, tmp_path: Path) -> Edge:
    variables = host.ansible.get_variables()
    root = tmp_path / "root.pem"
    root.write_text(
        host.check_output("curl -sf --cacert /etc/anchorage/tls/ca.crt https://acme.lab.test:15000/roots/0")
    )
    internal = Path(variables["ansible_private_key_file"]).parent / "ca/ca.crt"
    return Edge(f"{host.backend.host}.lab.test", variables["ansible_host"], root, internal)


@pytest.fixture
def converge(host: Host) -> Converge:
    """The scenario's own playbook, once more, with other variables; on this host."""

    def run(**variables: Any) -> subprocess.CompletedProcess[str]:
        command = ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], str(SCENARIO / "converge.yml")]
        return subprocess.run(  # noqa: S603
            [*command, "--limit", host.backend.host, "-e", json.dumps(variables)],
            env=os.environ | {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"},
            stdout=subprocess.PIPE,
            # Ansible tells failures there.
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture
def upstream(host: Host) -> Iterator[None]:
    """The service behind the edge."""
    with host.sudo():
        script = shlex.quote(UPSTREAM.read_text())
        host.check_output(f"systemd-run -q --unit=upstream -p DynamicUser=yes /usr/bin/python3 -c {script}")
        host.check_output("timeout 15 sh -c 'until ss -Hltn sport = :8001 | grep -q .; do sleep 0.1; done'")
    yield
    with host.sudo():
        host.check_output("systemctl stop upstream")
