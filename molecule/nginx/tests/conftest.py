"""A client of the edge, from another machine, who trusts the internal authority only."""

from __future__ import annotations

import shlex
import socket
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

NAME = "edge.lab.test"
UPSTREAM = Path(__file__).with_name("upstream.py")


@dataclass(frozen=True)
class Edge:
    """The edge as clients see it."""

    address: str
    authority: Path

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.authority))

    def client(self, timeout_s: float = 20) -> httpx.Client:
        """For requests to the edge's name, whatever the resolver says of it."""
        return httpx.Client(
            base_url=f"https://{self.address}", verify=self.context(), timeout=timeout_s, trust_env=False
        )

    def get(self, path: str, *, name: str = NAME, **headers: str) -> httpx.Response:
        with self.client() as client:
            return client.get(path, headers={"Host": name, **headers}, extensions={"sni_hostname": NAME})

    def raw(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Bytes as they are, over TLS: status, headers in lower case, body."""
        with (
            socket.create_connection((self.address, 443), timeout=20) as plain,
            self.context().wrap_socket(plain, server_hostname=NAME) as secure,
        ):
            secure.sendall(request)
            answer = b""
            while chunk := secure.recv(65536):
                answer += chunk
        head, _, body = answer.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return int(status.split()[1]), headers, body


@pytest.fixture
def edge(host: Host) -> Edge:
    variables: dict[str, Any] = host.ansible.get_variables()
    authority = Path(variables["ansible_private_key_file"]).parent / "ca" / "ca.crt"
    return Edge(variables["ansible_host"], authority)


def wait_until_listening(host: Host, port: int) -> None:
    deadline = time.monotonic() + 15
    while host.run(f"ss -Hltn sport = :{port}").stdout == "":
        assert time.monotonic() < deadline, f"nobody listens on {port}"
        time.sleep(0.1)


@pytest.fixture
def upstream(host: Host) -> Iterator[None]:
    """The service behind the edge."""
    script = shlex.quote(UPSTREAM.read_text())
    with host.sudo():
        host.check_output(f"systemd-run -q --unit=upstream -p DynamicUser=yes /usr/bin/python3 -c {script}")
    wait_until_listening(host, 8001)
    yield
    with host.sudo():
        host.check_output("systemctl stop upstream")
