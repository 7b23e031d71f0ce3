"""What the edge answers by itself: typed errors with the request's id."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from conftest import NAME, Edge
from testinfra.host import Host  # type: ignore[import-untyped]


def maintenance(wanted: str) -> subprocess.CompletedProcess[str]:
    project = Path(__file__).resolve().parents[3]
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    return subprocess.run(  # noqa: S603
        ["ansible-playbook", "-i", inventory, "playbooks/maintenance.yml", "-e", f"maintenance={wanted}"],  # noqa: S607
        cwd=project,
        env=os.environ | {"ANSIBLE_CONFIG": str(project / "ansible.cfg")},
        stdout=subprocess.PIPE,
        # Ansible tells failures there.
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


def check_problem(status: int, code: str, headers: dict[str, str], body: bytes) -> None:
    assert headers["content-type"] == "application/problem+json", body
    problem = json.loads(body)
    assert (problem["status"], problem["code"]) == (status, code)
    assert problem["request_id"] == headers["x-request-id"]
    assert problem["type"]
    assert problem["title"]
    assert problem["detail"]


def test_service_down(edge: Edge) -> None:
    for path in ("/x", "/v1/chat/completions", "/index.html"):
        answer = edge.get(path)
        assert answer.status_code == 502
        assert answer.headers["retry-after"] == "5"
        assert answer.headers["strict-transport-security"]
        check_problem(502, "dependency_unavailable", dict(answer.headers), answer.content)


@pytest.mark.usefixtures("upstream")
def test_service_comes_back_at_once(host: Host, edge: Edge) -> None:
    with host.sudo():
        host.check_output("systemctl stop nginx && systemctl start nginx")
    assert edge.get("/x").status_code == 200


@pytest.mark.usefixtures("upstream")
def test_service_too_slow(edge: Edge) -> None:
    begin = time.monotonic()
    answer = edge.get("/hang")
    assert answer.status_code == 504
    assert time.monotonic() - begin < 5
    assert answer.headers["retry-after"] == "5"
    check_problem(504, "dependency_unavailable", dict(answer.headers), answer.content)


def test_browsers_get_a_page(edge: Edge) -> None:
    answer = edge.get("/x", Accept="text/html,application/xhtml+xml;q=0.9,*/*;q=0.8")
    assert answer.status_code == 502
    assert answer.headers["retry-after"] == "5"
    assert answer.headers["content-type"].startswith("text/html")
    assert "not available right now" in answer.text
    assert answer.headers["x-request-id"] in answer.text


@pytest.mark.usefixtures("upstream")
def test_maintenance_answers_everything_until_it_is_over(edge: Edge) -> None:
    assert maintenance("on").returncode == 0
    try:
        for path in ("/x", "/v1/chat/completions", "/metrics"):
            answer = edge.get(path)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
            check_problem(503, "dependency_unavailable", dict(answer.headers), answer.content)
        assert "not available" in edge.get("/x", Accept="text/html").text
    finally:
        assert maintenance("off").returncode == 0
    assert edge.get("/x").status_code == 200
    refused = maintenance("maybe")
    assert refused.returncode != 0
    assert "Say -e maintenance=on" in refused.stdout


@pytest.mark.usefixtures("upstream")
def test_services_own_retry_after_is_kept(edge: Edge) -> None:
    answer = edge.get("/busy")
    assert answer.status_code == 503
    assert answer.headers.get_list("retry-after") == ["77"]


def test_body_too_large(edge: Edge) -> None:
    request = (
        f"POST /api/v1/documents HTTP/1.1\r\nHost: {NAME}\r\nContent-Length: {51 << 20}\r\nConnection: close\r\n\r\n"
    )
    status, headers, body = edge.raw(request.encode())
    assert status == 413
    check_problem(413, "payload_too_large", headers, body)
    assert "50m" in json.loads(body)["detail"]


def test_headers_too_large(edge: Edge) -> None:
    request = f"GET / HTTP/1.1\r\nHost: {NAME}\r\nX-Big: {'x' * 20000}\r\nConnection: close\r\n\r\n"
    status, headers, body = edge.raw(request.encode())
    assert status == 431
    check_problem(431, "headers_too_large", headers, body)
