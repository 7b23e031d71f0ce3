"""What the role sets up, asked of the program that reads it: who may see what, and that nothing leaves the host."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest
from ask import ask, status
from testinfra.host import Host  # type: ignore[import-untyped]

from tests.hardening import breaches, exposures

FOLDER = Path(__file__).resolve().parents[3] / "roles/grafana/files/dashboards"


def test_every_dashboard_is_there_and_leads_to_the_runbooks(host: Host) -> None:
    shown = {found["uid"] for found in ask(host, "/api/search?tag=anchorage")}
    assert shown == {json.loads(path.read_text())["uid"] for path in FOLDER.iterdir()}
    text = json.dumps(ask(host, "/api/dashboards/uid/anchorage-hosts"))
    assert "https://git.example.org/anchorage/docs/runbooks/CpuBusy.md" in text
    assert '"docs/runbooks/' not in text


def test_its_prometheus_answers_and_points_lead_to_traces(host: Host) -> None:
    assert ask(host, "/api/datasources/uid/prometheus/health")["status"] == "OK"
    source = ask(host, "/api/datasources/uid/prometheus")
    assert (source["isDefault"], source["editable"], source["jsonData"]["timeInterval"]) == (True, False, "10s")
    (destination,) = source["jsonData"]["exemplarTraceIdDestinations"]
    assert (destination["name"], destination["url"]) == ("trace_id", "http://127.0.0.1:6006/traces/${__value.raw}")


@pytest.mark.parametrize("path", ["/api/search", "/api/user", "/api/dashboards/uid/anchorage-overview"])
def test_nobody_sees_anything_without_the_password(host: Host, path: str) -> None:
    assert status(host, path) == "200"
    assert status(host, path, password="") == "401"
    assert status(host, path, password="admin") == "401"  # noqa: S106


def test_it_listens_on_loopback_only(host: Host) -> None:
    listening = {found.split()[3] for found in host.check_output("ss -Hltn sport = :3000").splitlines()}
    assert listening == {"127.0.0.1:3000"}
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host.ansible.get_variables()["ansible_host"], 3000), timeout=5)


def test_its_secrets_are_in_no_other_file_and_no_log(host: Host) -> None:
    # In brackets, so that sudo's own log of this command does not match.
    pattern = "molecule-(password-of-admi[n]|key-of-grafan[a])"
    with host.sudo():
        files = host.run(f"grep -rlsE '{pattern}' /etc /var/lib/grafana /var/log/grafana").stdout.split()
        log = host.run(f"journalctl --no-pager | grep -v ' sudo\\[' | grep -E '{pattern}'").stdout
        shown = host.run(f"cat /proc/[0-9]*/cmdline | tr '\\0' '\\n' | grep -E '{pattern}'").stdout
    folder = "/etc/anchorage/credentials"
    assert sorted(files) == [f"{folder}/grafana_admin_password", f"{folder}/grafana_secret_key"]
    assert (log, shown) == ("", "")


def test_exposure(host: Host) -> None:
    assert breaches(exposures(host.check_output, {"grafana-server.service"})) == []


def test_sandbox_bites(host: Host) -> None:
    with host.sudo():
        seen = f"/proc/{host.check_output('systemctl show -P MainPID grafana-server')}/root"
        assert "Read-only file system" in host.run(f"touch {seen}/etc/grafana/x").stderr
        assert host.run(f"touch {seen}/var/lib/grafana/x && rm {seen}/var/lib/grafana/x").rc == 0
        assert set(host.check_output("systemctl show -P IPAddressDeny grafana-server").split()) == {"::/0", "0.0.0.0/0"}


def test_it_comes_back_when_it_is_killed(host: Host) -> None:
    with host.sudo():
        before = host.check_output("systemctl show -P MainPID grafana-server")
        host.check_output("systemctl kill -s KILL grafana-server")
        another = f"systemctl show -P MainPID grafana-server | grep -qvx -e 0 -e {before}"
        host.check_output(f"timeout 30 sh -c 'until {another}; do sleep 0.1; done'")
    host.check_output("timeout 30 sh -c 'until curl -sf http://127.0.0.1:3000/api/health; do sleep 0.1; done'")
    assert status(host, "/api/user") == "200"
