"""The service on a real host: it answers to a key, refuses without one, and keeps its data."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

from tests.hardening import breaches, exposures

KEY, READ_ONLY = "molecule-full-access-key", "molecule-read-only-key"
URL = "http://127.0.0.1:6333"


def call(host: Host, method: str, path: str, key: str | None = KEY, body: Any = None) -> tuple[int, str]:
    """HTTP from the host itself: status and body."""
    arguments = ["curl", "-s", "-m", "20", "-X", method, "-w", r"\n%{http_code}", URL + path]
    if key is not None:
        arguments += ["-H", f"api-key: {key}"]
    if body is not None:
        arguments += ["-H", "content-type: application/json", "-d", json.dumps(body)]
    quoted = " ".join("'" + argument.replace("'", "'\\''") + "'" for argument in arguments)
    content, _, status = host.run(quoted).stdout.rpartition("\n")
    return int(status), content


def wait_ready(host: Host) -> None:
    deadline = time.monotonic() + 30
    while call(host, "GET", "/readyz", None)[0] != 200:
        assert time.monotonic() < deadline, host.run("systemctl status qdrant.service").stdout
        time.sleep(0.2)


def count(host: Host) -> int:
    status, content = call(host, "POST", "/collections/kept/points/count", body={"exact": True})
    assert status == 200, content
    found = json.loads(content)["result"]["count"]
    assert isinstance(found, int)
    return found


@pytest.fixture
def points(host: Host) -> int:
    """Fifty more points, acknowledged; the number there must now be."""
    wait_ready(host)
    call(host, "PUT", "/collections/kept", body={"vectors": {"size": 3, "distance": "Cosine"}})
    before = count(host)
    new = [{"id": before + i, "vector": [1, i, 2], "payload": {"i": i}} for i in range(50)]
    assert call(host, "PUT", "/collections/kept/points?wait=true", body={"points": new})[0] == 200
    return before + 50


def test_service_is_enabled_and_runs_as_its_own_user(host: Host) -> None:
    service = host.service("qdrant")
    assert service.is_running
    assert service.is_enabled
    assert host.run("ps -o user= -C qdrant").stdout.split() == ["qdrant"]


def test_it_answers_only_to_a_key(host: Host) -> None:
    wait_ready(host)
    assert call(host, "GET", "/collections")[0] == 200
    assert call(host, "GET", "/collections", None)[0] == 401
    assert call(host, "GET", "/collections", "molecule-wrong-key")[0] == 401
    assert call(host, "GET", "/metrics", None)[0] == 401


def test_read_only_key_reads_and_changes_nothing(host: Host, points: int) -> None:
    assert call(host, "GET", "/collections/kept", READ_ONLY)[0] == 200
    assert call(host, "GET", "/metrics", READ_ONLY)[0] == 200
    assert call(host, "DELETE", "/collections/kept", READ_ONLY)[0] == 403
    assert count(host) == points


def test_it_listens_on_loopback_only(host: Host) -> None:
    listening = [socket for socket in host.socket.get_listening_sockets() if socket.endswith((":6333", ":6334"))]
    assert listening == ["tcp://127.0.0.1:6333"]


def test_data_survives_a_restart(host: Host, points: int) -> None:
    with host.sudo():
        assert host.run("systemctl restart qdrant.service").rc == 0
    wait_ready(host)
    assert count(host) == points


def test_data_survives_sigkill_and_the_service_comes_back(host: Host, points: int) -> None:
    with host.sudo():
        before = host.check_output("systemctl show -P MainPID qdrant.service")
        host.check_output("systemctl kill -s KILL qdrant.service")
        another = f"systemctl show -P MainPID qdrant.service | grep -qvx -e 0 -e {before}"
        host.check_output(f"timeout 30 sh -c 'until {another}; do sleep 0.1; done'")
    wait_ready(host)
    assert count(host) == points


def test_a_stop_is_clean(host: Host, points: int) -> None:
    with host.sudo():
        assert host.run("systemctl stop qdrant.service").rc == 0
        assert host.run("systemctl show -P Result qdrant.service").stdout.strip() == "success"
        assert host.run("systemctl show -P ExecMainStatus qdrant.service").stdout.strip() == "0"
        host.run("systemctl start qdrant.service")
    wait_ready(host)
    assert count(host) == points


def test_snapshot_comes_back(host: Host, points: int) -> None:
    status, content = call(host, "POST", "/collections/kept/snapshots")
    assert status == 200
    made = json.loads(content)["result"]
    with host.sudo():
        assert host.file(f"/var/lib/qdrant/snapshots/kept/{made['name']}").sha256sum == made["checksum"]
    assert call(host, "POST", "/collections/kept/points/delete?wait=true", body={"filter": {"must": []}})[0] == 200
    assert count(host) == 0
    location = {"location": f"file:///var/lib/qdrant/snapshots/kept/{made['name']}"}
    assert call(host, "PUT", "/collections/kept/snapshots/recover", body=location)[0] == 200
    assert count(host) == points
    assert call(host, "DELETE", f"/collections/kept/snapshots/{made['name']}")[0] == 200


def test_secrets_are_nobodys_to_read(host: Host) -> None:
    keys = host.file("/etc/qdrant/keys.env")
    with host.sudo():
        assert (keys.mode, keys.user) == (0o600, "root")
        shown = host.run("systemctl show qdrant.service").stdout + host.run("cat /proc/[0-9]*/cmdline").stdout
        assert host.run("runuser -u qdrant -- cat /etc/qdrant/keys.env").rc != 0
        config = host.file("/etc/qdrant/config.yaml").content_string
    assert KEY not in shown
    assert KEY not in config
    assert host.run("cat /var/lib/qdrant/storage/aliases.json").rc != 0


def test_sandbox_score(host: Host) -> None:
    assert breaches(exposures(host.check_output, {"qdrant.service"})) == []


def test_sandbox_bites(host: Host) -> None:
    """The service can't write outside of its own directory."""
    with host.sudo():
        pid = host.run("systemctl show -P MainPID qdrant.service").stdout.strip()
        inside = f"nsenter -t {pid} -m -- touch"
        assert host.run(f"{inside} /etc/qdrant/x").rc != 0
        assert host.run(f"{inside} /usr/local/bin/x").rc != 0
        assert host.run(f"{inside} /var/lib/qdrant/x && rm /var/lib/qdrant/x").rc == 0


def test_versions_are_recorded(host: Host) -> None:
    with host.sudo():
        assert host.file("/var/lib/qdrant/served-by-version").content_string == "1.19.0\n"
    assert host.file("/usr/local/bin/qdrant").linked_to == "/opt/qdrant/1.19.0/qdrant"
    assert host.run("/usr/local/bin/qdrant --version").stdout.startswith("qdrant 1.19.0 ")
    assert not host.file("/opt/qdrant/incoming").exists
