"""The service after the role: it answers from a document, in a sandbox, and comes back by itself."""

from __future__ import annotations

import json
import time
from typing import Any

from testinfra.host import Host

from tests.hardening import breaches, exposures

KEY = "anc_molecule_0123456789012345678901234567890123456789"
BASE = "http://127.0.0.1:8001"


def call(host: Host, path: str, body: dict[str, Any] | None = None, key: str = KEY) -> Any:
    sent = f"-H 'Content-Type: application/json' --data '{json.dumps(body)}'" if body is not None else ""
    return json.loads(host.check_output(f"curl -s -H 'Authorization: Bearer {key}' {sent} {BASE}{path}"))


def wait_until_ready(host: Host) -> None:
    host.check_output(f"timeout 60 sh -c 'until curl -sf {BASE}/api/v1/ready; do sleep 0.3; done'")


def ingest(host: Host, title: str, text: str) -> None:
    accepted = call(host, "/api/v1/documents", {"title": title, "text": text})
    deadline = time.monotonic() + 60
    while call(host, f"/api/v1/jobs/{accepted['job_id']}")["state"] != "succeeded":
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_a_document_is_worked_on_and_answers(host: Host) -> None:
    """Its reader forks and limits itself, which the worker's sandbox must allow: refused, no document would be read."""
    ingest(host, "Harbour", "A berth costs 34 euros a night.")
    answer = call(host, "/api/v1/query", {"query": "How much does a berth cost a night?"})
    assert answer["grounded"]
    assert "34 euros" in answer["answer"]


def test_nobody_gets_in_without_the_key(host: Host) -> None:
    assert call(host, "/api/v1/query", {"query": "x"}, key="none")["status"] == 401


def test_a_killed_service_is_back_by_itself(host: Host) -> None:
    with host.sudo():
        host.check_output("systemctl kill --signal=KILL anchorage-app@blue anchorage-worker")
        wait_until_ready(host)
        host.check_output("timeout 20 sh -c 'until systemctl is-active -q anchorage-worker; do sleep 0.2; done'")


def test_the_release_is_its_own_and_read_only(host: Host) -> None:
    release = host.file("/opt/anchorage/current").linked_to
    assert release.startswith("/opt/anchorage/releases/")
    assert host.file(f"{release}/release.json").user == "root"
    with host.sudo("anchorage"):
        assert host.run(f"touch {release}/venv/x").rc != 0


def test_secrets_are_in_no_environment_and_no_open_file(host: Host) -> None:
    with host.sudo():
        environment = host.check_output("sh -c \"cat /proc/[0-9]*/environ 2>/dev/null | tr '\\0' '\\n'\"")
    assert "molecule-secret-key" not in environment
    assert host.run("cat /etc/anchorage/credentials/secret_key").rc != 0


def test_the_sandbox_holds(host: Host) -> None:
    units = {"anchorage-app@blue.service", "anchorage-worker.service"}
    assert breaches(exposures(host.check_output, units)) == []


def test_the_doctor_finds_everything_in_order(host: Host) -> None:
    with host.sudo():
        said = json.loads(host.check_output("anchorage doctor --json"))
    assert said["ok"], said


def test_both_show_their_metrics_on_the_host_alone(host: Host) -> None:
    ingest(host, "Pier", "The pier has 40 berths.")
    service = host.check_output("curl -sf http://127.0.0.1:8001/metrics")
    assert 'anchorage_build_info{colour="blue"' in service
    worker = host.check_output("curl -sf http://127.0.0.1:8003/metrics")
    assert 'anchorage_jobs_finished_total{outcome="succeeded"}' in worker
    listening = host.check_output("ss -Hltn 'sport = :8003'").split()
    assert listening[3] == "127.0.0.1:8003"
