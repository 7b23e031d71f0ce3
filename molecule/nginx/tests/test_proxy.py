"""What passes the edge, and how it arrives on either side."""

from __future__ import annotations

import itertools
import json
import time

import pytest
from conftest import NAME, Edge
from testinfra.host import Host  # type: ignore[import-untyped]
from upstream_facts import EVENTS, GAP_S

pytestmark = pytest.mark.usefixtures("upstream")


def arrivals(edge: Edge, path: str) -> list[float]:
    """Seconds from the request to each event."""
    begin = time.monotonic()
    found: list[float] = []
    headers = {"Host": NAME, "Accept-Encoding": "gzip"}
    with (
        edge.client() as client,
        client.stream("GET", path, headers=headers, extensions={"sni_hostname": NAME}) as answer,
    ):
        assert answer.status_code == 200
        assert "content-encoding" not in answer.headers
        for chunk in answer.iter_raw():
            found += [time.monotonic() - begin] * chunk.count(b"id: ")
    return found


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/api/v1/jobs/7/events", "/marked-stream"])
def test_events_arrive_when_they_are_sent(edge: Edge, path: str) -> None:
    found = arrivals(edge, path)
    assert len(found) == EVENTS
    assert found[0] < GAP_S
    gaps = [after - before for before, after in itertools.pairwise(found)]
    assert min(gaps) > GAP_S / 2, gaps


def test_reload_breaks_no_stream(host: Host, edge: Edge) -> None:
    headers = {"Host": NAME}
    with (
        edge.client() as client,
        client.stream("GET", "/v1/chat/completions", headers=headers, extensions={"sni_hostname": NAME}) as answer,
    ):
        chunks = answer.iter_raw()
        first = next(chunks)
        with host.sudo():
            host.check_output("systemctl reload nginx")
        everything = first + b"".join(chunks)
    assert everything.count(b"id: ") == EVENTS


def test_upstream_learns_who_asks_and_claims_are_replaced(host: Host, edge: Edge) -> None:
    client_address = host.check_output("echo ${SSH_CONNECTION%% *}")
    answer = edge.get("/x", **{"X-Forwarded-For": "192.0.2.66", "X-Forwarded-Proto": "http", "X-Request-ID": "forged"})
    seen = {name.lower(): value for name, value in answer.json()["headers"].items()}
    assert seen["x-forwarded-for"] == seen["x-real-ip"] == client_address
    assert (seen["x-forwarded-proto"], seen["x-forwarded-port"], seen["host"]) == ("https", "443", NAME)
    assert len(seen["x-request-id"]) == 32
    assert answer.headers.get_list("x-request-id") == [seen["x-request-id"]]


def test_security_headers_are_there_once_and_the_services_own_wins(edge: Edge) -> None:
    answer = edge.get("/x")
    assert answer.headers["server"] == "nginx"
    assert answer.headers["strict-transport-security"] == "max-age=31536000"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers.get_list("x-frame-options") == ["SAMEORIGIN"]
    assert edge.get("/own-headers").headers.get_list("x-frame-options") == ["DENY"]


def test_upload_below_the_limit_passes(edge: Edge) -> None:
    with edge.client(60) as client:
        answer = client.post(
            "/api/v1/documents", content=b"x" * (40 << 20), headers={"Host": NAME}, extensions={"sni_hostname": NAME}
        )
    assert answer.json() == {"length": 40 << 20}


def test_metrics_are_for_the_host_itself(host: Host, edge: Edge) -> None:
    answer = edge.get("/metrics")
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    inside = f"curl -s --cacert /etc/anchorage/tls/ca.crt --resolve {NAME}:443:127.0.0.1 https://{NAME}/metrics"
    assert json.loads(host.check_output(inside))["path"] == "/metrics"


@pytest.mark.parametrize("path", ["/docs", "/docs/swagger.js", "/redoc", "/openapi.json"])
def test_the_documentation_is_for_the_host_itself(host: Host, edge: Edge, path: str) -> None:
    assert edge.get(path).status_code == 403
    inside = f"curl -s --cacert /etc/anchorage/tls/ca.crt --resolve {NAME}:443:127.0.0.1 https://{NAME}{path}"
    assert json.loads(host.check_output(inside))["path"] == path


@pytest.mark.parametrize("encoding", ["gzip", "br"])
def test_long_answers_are_compressed_for_who_can_read_it(host: Host, edge: Edge, encoding: str) -> None:
    answer = edge.get("/long", **{"Accept-Encoding": encoding})
    assert answer.headers["content-encoding"] == encoding
    assert "content-encoding" not in edge.get("/long", **{"Accept-Encoding": "identity"}).headers


def test_access_log_is_json_with_timings_and_without_questions(host: Host, edge: Edge) -> None:
    request_id = edge.get("/x?question=secret").headers["x-request-id"]
    with host.sudo():
        log = host.check_output("journalctl -t nginx -o cat -n 20")
    line = next(json.loads(line) for line in log.splitlines() if request_id in line)
    assert (line["method"], line["path"], line["status"], line["upstream_status"]) == ("GET", "/x", 200, "200")
    assert float(line["upstream_response_s"]) <= float(line["duration_s"]) + 0.01
    assert "secret" not in log
