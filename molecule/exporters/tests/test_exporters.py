"""What is told, to whom, and what the tellers may do: nothing but tell."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

from tests.hardening import breaches, exposures

UNITS = [f"prometheus-{name}-exporter" for name in ("node", "redis", "postgres", "nginx", "blackbox", "exporter")]
TLS = "/etc/anchorage/tls"


def metrics(host: Host, port: int) -> str:
    text = host.check_output(
        f"python3 -c 'import urllib.request as u; print(u.urlopen(\"http://127.0.0.1:{port}/metrics\").read().decode())'"
    )
    assert isinstance(text, str)
    return text


def value(text: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    assert found, f"no {series}"
    return float(found[1])


def at_the_door(host: Host, module: str, certificate: str | None) -> Any:
    """What `openssl s_client` hears from the network side, with a client's certificate or none."""
    address = host.ansible.get_variables()["ansible_host"]
    with_it = f"-cert {TLS}/{certificate}.crt -key {TLS}/{certificate}.key" if certificate else ""
    request = f"printf 'GET /proxy?module={module} HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n'"
    with host.sudo():
        return host.run(
            f'sh -c "({request}; sleep 2) | openssl s_client -quiet -CAfile {TLS}/ca.crt -verify_return_error'
            f' {with_it} -connect {address}:9998 2>&1"'
        ).stdout


@pytest.mark.parametrize(("port", "series"), [(9121, "redis_up"), (9187, "pg_up"), (9113, "nginx_up")])
def test_each_reaches_what_it_watches(host: Host, port: int, series: str) -> None:
    assert value(metrics(host, port), series) == 1


def test_a_failed_unit_a_restart_and_a_file_of_metrics_are_told(host: Host) -> None:
    with host.sudo():
        host.run("systemd-run --unit=broken --property=Type=oneshot false")
        host.check_output("echo 'anchorage_drill_success 1' > /var/lib/prometheus/node-exporter/test.prom")
    text = metrics(host, 9100)
    with host.sudo():
        host.run("systemctl reset-failed broken")
        host.check_output("rm /var/lib/prometheus/node-exporter/test.prom")
    assert value(text, 'node_systemd_unit_state{name="broken.service",state="failed",type="oneshot"}') == 1
    assert value(text, "anchorage_drill_success") == 1
    assert value(text, 'node_systemd_service_restart_total{name="nginx.service"}') == 0
    assert re.search(r'^node_filesystem_avail_bytes\{.*mountpoint="/"', text, re.MULTILINE)


def test_the_end_of_each_certificate_is_told(host: Host) -> None:
    text = metrics(host, 9100)
    for name in ("ca", "edge", "exporters"):
        end = host.check_output(f'date -d "$(openssl x509 -noout -enddate -in {TLS}/{name}.crt | cut -d= -f2)" +%s')
        assert value(text, f'anchorage_certificate_not_after_timestamp_seconds{{file="{TLS}/{name}.crt"}}') == float(
            end
        )


def test_a_server_that_is_away_is_told(host: Host) -> None:
    with host.sudo():
        host.check_output("systemctl stop redis-server")
        try:
            assert value(metrics(host, 9121), "redis_up") == 0
        finally:
            host.check_output("systemctl start redis-server")
    deadline = time.monotonic() + 20
    while value(metrics(host, 9121), "redis_up") != 1:
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_who_watches_redis_can_read_no_data_and_write_none(host: Host) -> None:
    way = "REDISCLI_AUTH=molecule-password-of-monitor redis-cli --no-auth-warning --user monitor"
    assert "used_memory" in host.check_output(f"{way} INFO memory")
    for command in ("GET x", "SET x y", "KEYS '*'", "CONFIG SET dir /tmp", "FLUSHALL", "ACL LIST"):
        assert "NOPERM" in host.run(f"{way} {command}").stdout


def test_who_watches_postgres_can_read_no_data(host: Host) -> None:
    def said(database: str, query: str) -> str:
        with host.sudo("prometheus"):
            return str(host.run(f'psql -h /run/postgresql -d {database} -Atc "{query}" 2>&1').stdout)

    assert int(said("postgres", "select count(*) from pg_stat_activity")) > 0
    assert "no pg_hba.conf entry" in said("anchorage", "select 1")
    assert "permission denied" in said("postgres", "select rolpassword from pg_authid")
    assert "permission denied" in said("postgres", "create table public.x (y int)")


def test_from_outside_there_is_the_door_alone(host: Host) -> None:
    addresses = {line.split()[3] for line in host.check_output("ss -Hltn").splitlines()}
    open_ports = {at.rsplit(":", 1)[1] for at in addresses if not at.startswith(("127.", "[::1]"))}
    assert open_ports <= {"22", "80", "443", "9998"}


@pytest.mark.parametrize(
    ("module", "series"), [("node", "node_load1"), ("redis", "redis_up 1"), ("postgres", "pg_up 1")]
)
def test_the_door_leads_to_every_module(host: Host, module: str, series: str) -> None:
    assert series in at_the_door(host, module, "prometheus")


@pytest.mark.parametrize("certificate", [None, "stranger", "edge"])
def test_the_door_is_closed_to_everybody_else(host: Host, certificate: str | None) -> None:
    said = at_the_door(host, "node", certificate)
    assert "node_load1" not in said
    assert "alert" in said


@pytest.mark.parametrize("unit", [*UNITS, "anchorage-certificate-metrics"])
def test_exposure(host: Host, unit: str) -> None:
    assert breaches(exposures(host.check_output, {f"{unit}.service"})) == []


def test_secrets_are_root_s_alone(host: Host) -> None:
    with host.sudo():
        found = host.run("runuser -u prometheus -- grep -rls 'molecule-password-of-monito[r]' /etc /var/lib/prometheus")
        shown = host.run(
            "cat /proc/[0-9]*/cmdline /proc/[0-9]*/environ | tr '\\0' '\\n' | grep 'molecule-password-of-monito[r]'"
        )
    assert (found.stdout, shown.stdout) == ("", "")
