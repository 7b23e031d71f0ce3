"""The unit: its sandbox, and what it survives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from conftest import NAME, Edge, wait_until_listening
from testinfra.host import Host  # type: ignore[import-untyped]

from tests.hardening import breaches, exposures

SCENARIO = Path(__file__).resolve().parents[1]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=180, check=False, cwd=SCENARIO.parents[1]
    )


def converge(host: Host, **variables: Any) -> subprocess.CompletedProcess[str]:
    inventory = os.environ["MOLECULE_INVENTORY_FILE"]
    playbook = str(SCENARIO / "converge.yml")
    return run(
        *("ansible-playbook", "-i", inventory, playbook, "--limit", host.backend.host, "-e", json.dumps(variables))
    )


def test_exposure(host: Host) -> None:
    assert breaches(exposures(host.check_output, {"nginx.service"})) == []


def test_no_process_is_root_and_none_has_a_right_but_the_ports(host: Host) -> None:
    assert set(host.check_output("ps -o user= -C nginx").split()) == {"www-data"}
    rights = host.check_output("grep -h CapEff $(pgrep nginx | sed 's|.*|/proc/&/status|')")
    assert set(rights.split()[1::2]) == {"0000000000000400"}


def test_sandbox_bites(host: Host) -> None:
    with host.sudo():
        inside = f"nsenter -t {host.check_output('systemctl show -P MainPID nginx')} -m --"
        assert host.run(f"{inside} touch /etc/nginx/x").rc != 0
        assert host.run(f"{inside} touch /var/lib/nginx/x").rc == 0
        assert host.check_output(f"{inside} ls /home") == ""


def test_a_key_that_it_could_not_read_is_said_with_its_cure(host: Host) -> None:
    with host.sudo():
        host.check_output("install -m 0600 /etc/anchorage/tls/edge.key /etc/anchorage/tls/closed.key")
    done = converge(host, nginx_tls_certificate_key="/etc/anchorage/tls/closed.key")
    assert done.returncode != 0
    assert "chgrp www-data" in " ".join((done.stdout + done.stderr).split())


def ask_until_logged(host: Host, edge: Edge, path: str) -> None:
    """A reload, and a reopening of logs, take effect a moment after they were ordered."""
    deadline = time.monotonic() + 20
    while path not in host.check_output("cat /var/log/nginx/access.log"):
        assert time.monotonic() < deadline
        edge.get(path)


def test_a_log_file_that_was_rotated_is_left_for_a_new_one(host: Host, edge: Edge) -> None:
    with host.sudo():
        host.check_output("echo 'access_log /var/log/nginx/access.log;' > /etc/nginx/conf.d/rotation.conf")
        host.check_output("systemctl reload nginx")
        ask_until_logged(host, edge, "/before-rotation")
        # What Debian's logrotate does: put the file aside, make a new one, tell nginx.
        host.check_output("mv /var/log/nginx/access.log /var/log/nginx/access.log.1")
        host.check_output("install -m 0640 -o www-data -g adm /dev/null /var/log/nginx/access.log")
        host.check_output("invoke-rc.d nginx rotate")
        ask_until_logged(host, edge, "/after-rotation")
        assert "/before-rotation" in host.check_output("cat /var/log/nginx/access.log.1")
        host.check_output("rm /etc/nginx/conf.d/rotation.conf && systemctl reload nginx")


def test_it_survives_restart_and_sigkill(host: Host, edge: Edge) -> None:
    with host.sudo():
        host.check_output("systemctl restart nginx")
        assert edge.get("/x").status_code == 502
        before = host.check_output("systemctl show -P MainPID nginx")
        host.check_output("systemctl kill -s KILL nginx")
        another = f"systemctl show -P MainPID nginx | grep -qvx -e 0 -e {before}"
        host.check_output(f"timeout 30 sh -c 'until {another}; do sleep 0.1; done'")
        wait_until_listening(host, 443)
    assert edge.get("/x").status_code == 502


def test_it_survives_a_reboot(host: Host, edge: Edge) -> None:
    done = run(sys.executable, "-m", "lab", "reboot", "mol-nginx", host.backend.host)
    assert done.returncode == 0, done.stderr
    assert edge.get("/x").status_code == 502


def test_broken_configuration_is_refused_and_the_old_one_serves_on(host: Host, edge: Edge) -> None:
    before = host.file("/etc/nginx/nginx.conf").sha256sum
    done = converge(host, nginx_upstream_servers=["127.0.0.1:99999"])
    assert done.returncode != 0
    assert "invalid port" in done.stdout + done.stderr
    assert host.file("/etc/nginx/nginx.conf").sha256sum == before
    with host.sudo():
        host.check_output("nginx -t -q && systemctl restart nginx")
    assert edge.get("/x").status_code == 502


def test_missing_certificate_is_said_with_its_cure(host: Host) -> None:
    done = converge(host, nginx_tls_certificate="/etc/anchorage/tls/none.crt")
    assert done.returncode != 0
    assert "Run the role certificates first" in " ".join((done.stdout + done.stderr).split())


def test_a_new_certificate_is_served_without_a_restart(host: Host, edge: Edge) -> None:
    with host.sudo():
        before = host.check_output("systemctl show -P MainPID nginx")
    done = converge(host, edge_names=[NAME, "new.lab.test"])
    assert done.returncode == 0, done.stdout
    deadline = time.monotonic() + 5
    # A reload starts new workers; the old ones end a moment later.
    while run(
        *("openssl", "s_client", "-connect", f"{edge.address}:443", "-servername", NAME),
        *("-CAfile", str(edge.authority), "-verify_return_error", "-verify_hostname", "new.lab.test"),
    ).returncode:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    with host.sudo():
        assert host.check_output("systemctl show -P MainPID nginx") == before
