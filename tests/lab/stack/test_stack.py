"""`site.yml` on a bare VM: the whole stack answers over HTTPS, says no where it should, and survives."""

from __future__ import annotations

import json
import re
import time

import httpx
import pytest

from lab.up import anchorage
from tests.lab.stack.conftest import Stack

pytestmark = pytest.mark.lab
MANUAL = "# Harbour\n\nA berth costs 34 euros a night for boats up to twelve metres. The office opens at nine."


def add(client: httpx.Client, text: str, title: str) -> str:
    """Add a document and wait until it is answerable."""
    sent = {"text": text, "title": title, "media_type": "text/markdown"}
    response = client.post("/api/v1/documents", json=sent)
    assert response.status_code in (200, 202), response.text
    wait_for_job(client, response.json()["job_id"])
    return str(response.json()["document"]["id"])


def wait_for_job(client: httpx.Client, job_id: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        job = client.get(f"/api/v1/jobs/{job_id}").json()
        if job["state"] == "succeeded":
            return
        assert job["state"] != "failed", job
        time.sleep(0.1)
    raise AssertionError(f"job {job_id} did not end")


def test_a_document_is_answered_with_its_citation_over_https(stack: Stack) -> None:
    with stack.client() as client:
        document = add(client, MANUAL, "Harbour")
        answer = client.post("/api/v1/query", json={"query": "How much does a berth cost a night?"}).json()
    assert answer["grounded"]
    assert "34 euros" in answer["answer"]
    assert answer["citations"][0]["document_id"] == document


def test_a_second_run_changes_nothing(stack: Stack) -> None:
    """In a run of the whole folder, after test_secrets.py has changed every secret."""
    again = stack.play("site.yml")
    assert again.returncode == 0, again.stdout[-4000:]
    recap = re.search(r"changed=(\d+)", again.stdout.split("PLAY RECAP")[1])
    changed = [line for line in again.stdout.splitlines() if line.startswith("changed:")]
    assert recap is not None
    assert int(recap.group(1)) == 0, changed


def test_strangers_and_metrics_are_kept_out(stack: Stack) -> None:
    with stack.client(with_key=False) as client:
        refused = client.post("/api/v1/query", json={"query": "x"})
        assert (refused.status_code, refused.json()["code"]) == (401, "authentication_required")
        assert client.get("/metrics").status_code in (401, 403, 404)
        assert client.get("/health").json()["status"] == "ok"
    plain = httpx.get(stack.service.url.replace("https", "http") + "/health")
    assert (plain.status_code, plain.headers["location"][:8]) == (308, "https://")


def test_only_the_edge_listens_to_the_network(stack: Stack) -> None:
    listening = stack.host.execute("ss", "-Hltn", root=True)
    public = {line.split()[3].rsplit(":", 1)[1] for line in listening.splitlines() if "127.0.0." not in line.split()[3]}
    public -= {line.split()[3].rsplit(":", 1)[1] for line in listening.splitlines() if "[::1]" in line.split()[3]}
    assert public == {"22", "80", "443"}


def test_a_stream_arrives_as_it_is_made_and_is_taken_up_again_through_nginx(stack: Stack) -> None:
    """What comes before the generation is here while a model still writes: nothing on the way holds it back."""
    body = {"query": "How much does a berth cost a night?", "stream": True, "use_cache": False, "provider": "local"}
    seen: list[tuple[str, str, float]] = []
    with stack.client() as client:
        with client.stream("POST", "/api/v1/query", json=body) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            name = ""
            for line in response.iter_lines():
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    seen.append((name, line.removeprefix("data: "), time.monotonic()))
        names = [name for name, _, _ in seen]
        assert names[:2] == ["meta", "retrieval"]
        assert names[-1] == "done"
        assert "delta" in names
        written_s = json.loads(seen[-1][1])["timings_ms"]["generate"] / 1000
        assert written_s > 0.1
        assert seen[-1][2] - seen[1][2] > written_s / 2
        request_id = json.loads(seen[0][1])["request_id"]
        rest = client.get(f"/api/v1/query/{request_id}/events", headers={"Last-Event-ID": f"{request_id}:2"}).text
    again = [line.removeprefix("data: ") for line in rest.splitlines() if line.startswith("data: ")]
    assert again == [data for _, data, _ in seen[2:]]


def test_two_workers_count_together(stack: Stack) -> None:
    # By strangers: the monitoring asks for health too, at any time.
    def total() -> float:
        text = stack.host.execute("curl", "-s", "http://127.0.0.1:8001/metrics")
        found = re.search(r'http_requests_total\{method="GET",route="/api/v1/documents",status="401"\} (\S+)', text)
        return float(found.group(1)) if found else 0.0

    before = total()
    for _ in range(20):
        stack.host.execute("curl", "-s", "http://127.0.0.1:8001/api/v1/documents")
    assert total() - before == 20


def test_no_secret_lies_open_or_was_printed(stack: Stack) -> None:
    key = stack.service.api_key
    vault = stack.lab.directory / "secrets/vault.yml"
    assert vault.read_text().startswith("$ANSIBLE_VAULT;")
    assert vault.stat().st_mode & 0o077 == 0
    assert key not in stack.first_run
    environment = stack.host.execute(
        "sh", "-c", "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' '\\n'", root=True
    )
    journal = stack.host.execute("journalctl", "--no-pager", root=True)
    for place in (environment, journal):
        assert key not in place
    readable = stack.host.execute("sh", "-c", f"grep -rls '{key}' /etc /opt /var/lib 2>/dev/null || true")
    assert readable == ""


def test_the_command_of_the_host_finds_everything_in_order(stack: Stack) -> None:
    said = json.loads(stack.host.execute("anchorage", "doctor", "--json", root=True))
    assert said["ok"], said


def test_the_stack_comes_back_after_a_power_cut(stack: Stack) -> None:
    with stack.client() as client:
        add(client, "# Cranes\n\nThe large crane lifts eighty tonnes.", "Cranes")
    stack.host.kill()
    stack.lab.start("anchorage")
    deadline = time.monotonic() + 60
    with stack.client() as client:
        while time.monotonic() < deadline:
            try:
                if client.get("/api/v1/ready").status_code == 200:
                    break
            except httpx.HTTPError:
                time.sleep(0.3)
        answer = client.post("/api/v1/query", json={"query": "How much does the large crane lift?"}).json()
    assert "eighty tonnes" in answer["answer"]


def test_ingest_twice_indexes_once(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("documents")
    (folder / "tides.md").write_text("# Tides\n\nHigh water is at four in the afternoon.")
    first, second = (json.loads(anchorage(stack.service, "ingest", str(folder), "--json")) for _ in range(2))
    assert (first["ready"], second["present"]) == (["tides.md"], ["tides.md"])
