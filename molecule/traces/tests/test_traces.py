"""A trace that was sent is on the page; a stranger is refused; nothing is reached from outside."""

from __future__ import annotations

import json
import secrets
import socket
import time

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, TracesData
from testinfra.host import Host  # type: ignore[import-untyped]

from tests.hardening import breaches, exposures

URL = "http://127.0.0.1:6006"
KEY = "Authorization: Bearer 0123456789abcdef-molecule-traces-api-key"


def ask(host: Host, *options: str) -> str:
    return str(host.check_output(f"curl -s -m 20 {' '.join(options)}"))


def test_a_trace_that_was_sent_can_be_looked_at(host: Host) -> None:
    now = time.time_ns()
    name = f"retrieve-{secrets.token_hex(4)}"
    span = Span(
        trace_id=secrets.token_bytes(16),
        span_id=secrets.token_bytes(8),
        name=name,
        start_time_unix_nano=now,
        end_time_unix_nano=now + 1_000_000,
    )
    body = TracesData(resource_spans=[ResourceSpans(scope_spans=[ScopeSpans(spans=[span])])]).SerializeToString()
    host.check_output(f'python3 -c \'open("/tmp/trace", "wb").write(bytes.fromhex("{body.hex()}"))\'')
    send = f"--data-binary @/tmp/trace -H 'Content-Type: application/x-protobuf' {URL}/v1/traces"
    send += " -w '%{http_code}' -o /dev/null"
    assert ask(host, send) == "401"
    assert ask(host, f"-H '{KEY}'", send) == "200"
    deadline = time.monotonic() + 30
    while name not in (shown := ask(host, f"-H '{KEY}'", f"{URL}/v1/projects/default/spans")):
        assert time.monotonic() < deadline, shown
        time.sleep(1)
    assert json.loads(shown)["data"]


@pytest.mark.parametrize("port", [6006, 6007])
def test_it_is_reached_on_the_host_only(host: Host, port: int) -> None:
    """Of OTLP by gRPC it listens everywhere: the sandbox lets nothing through."""
    assert host.run(f"timeout 5 bash -c '</dev/tcp/127.0.0.1/{port}'").rc == 0
    with pytest.raises(OSError):  # noqa: PT011 - refused, or no answer
        socket.create_connection((host.ansible.get_variables()["ansible_host"], port), timeout=5).close()


def test_no_secret_is_in_a_file_that_others_read(host: Host) -> None:
    with host.sudo():
        file = host.file("/etc/anchorage/credentials/traces.env")
        assert (file.user, file.mode) == ("root", 0o600)
        assert "molecule-traces" not in host.check_output("systemctl show anchorage-traces.service")


def test_the_sandbox_is_within_its_bound(host: Host) -> None:
    assert breaches(exposures(host.check_output, {"anchorage-traces.service"})) == []
