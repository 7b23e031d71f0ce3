"""The service on one host, its data on another: what goes between them is encrypted, and either side is who it says."""

from __future__ import annotations

import json
import shlex
import ssl
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from lab.lab import Lab
from lab.up import put_artifacts, service
from tests.lab.stack.conftest import play
from tests.lab.stack.test_stack import MANUAL, add

pytestmark = pytest.mark.lab
FRONT, DATA = "front", "data"
OWN, OTHER = "/etc/anchorage/tls/ca.crt", "/root/other.crt"
# What `anchorage doctor` says of these must come from the wire.
ACROSS = ("database", "vector index", "cache")


@pytest.fixture(scope="module")
def pair() -> Iterator[Lab]:
    lab = Lab("pair-test")
    lab.down()
    try:
        lab.up([(FRONT, "trixie"), (DATA, "trixie")])
        put_artifacts(lab)
        done = play(lab, "site.yml")
        assert done.returncode == 0, f"site.yml failed:\n{done.stdout[-6000:]}"
        yield lab
    finally:
        lab.down()


def diagnosed(lab: Lab, *changes: tuple[str, str]) -> dict[str, str | None]:
    """Findings of `anchorage doctor` on the front host, where the service's settings have ``changes`` of their text."""
    edits = " ".join(f"-e {shlex.quote(f's|{old}|{new}|')}" for old, new in changes) or "-e ''"
    script = (
        f"sed {edits} /etc/anchorage/app.env > /run/doctor.env; set -a; . /run/doctor.env; "
        "CREDENTIALS_DIRECTORY=/etc/anchorage/credentials /opt/anchorage/current/venv/bin/anchorage doctor --json"
    )
    command = lab.host(FRONT).ssh_command("sh", "-c", script, root=True)
    said = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    findings = json.loads(said.stdout.splitlines()[-1])["findings"]
    return {found["name"]: found["detail"] if found["state"] == "failed" else None for found in findings}


def test_a_question_is_answered_across_the_hosts(pair: Lab) -> None:
    at = service(pair, FRONT)
    context = ssl.create_default_context(cafile=str(at.ca_file))
    headers = {"Authorization": f"Bearer {at.api_key}"}
    with httpx.Client(base_url=at.url, headers=headers, verify=context, timeout=30) as client:
        add(client, MANUAL, "Harbour")
        answer = client.post("/api/v1/query", json={"query": "How much does a berth cost a night?"}).json()
    assert "34 euros" in answer["answer"]
    assert set(diagnosed(pair).values()) == {None}


def test_a_connection_in_the_clear_is_refused(pair: Lab) -> None:
    plain = [
        ("sslmode=verify-full", "sslmode=disable"),
        ('REDIS_TLS="true"', 'REDIS_TLS="false"'),
        ("https://", "http://"),
    ]
    findings = diagnosed(pair, *plain)
    assert all(findings[name] for name in ACROSS), findings
    assert "no encryption" in str(findings["database"])


def test_a_server_that_another_authority_signed_is_refused(pair: Lab) -> None:
    request = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=other -days 9"
    pair.host(FRONT).execute("sh", "-c", f"{request} -keyout /dev/null -out {OTHER} 2>/dev/null", root=True)
    findings = diagnosed(pair, (OWN, OTHER))
    assert all(findings[name] for name in ACROSS), findings
    # Qdrant's is only told as one that does not answer.
    for name in ("database", "cache"):
        assert "certificate verify failed" in str(findings[name]), findings


def test_a_certificate_of_another_host_is_refused(pair: Lab) -> None:
    """The front's own, signed by the same authority, at the data host's Postgres, Redis and Qdrant."""
    data = pair.host(DATA)
    names = ("postgres", "redis", "qdrant")
    units = "postgresql@17-main redis-server qdrant"
    front = {
        part: pair.host(FRONT).execute("cat", f"/etc/anchorage/tls/edge.{part}", root=True) for part in ("crt", "key")
    }
    try:
        for name in names:
            data.execute(
                "sh", "-c", f"cp -p /etc/anchorage/tls/{name}.crt /etc/anchorage/tls/{name}.key /root/", root=True
            )
            for part, content in front.items():
                put = f"printf '%s\\n' {shlex.quote(content)} > /etc/anchorage/tls/{name}.{part}"
                data.execute("sh", "-c", put, root=True)
        data.execute("systemctl", "restart", *units.split(), root=True)
        findings = diagnosed(pair)
    finally:
        data.execute("sh", "-c", "cp -p /root/*.crt /root/*.key /etc/anchorage/tls/", root=True)
        data.execute("systemctl", "restart", *units.split(), root=True)
    assert all(findings[name] for name in ACROSS), findings
