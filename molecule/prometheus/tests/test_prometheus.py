"""What is seen, over which way, and how fast somebody is told."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

from tests.hardening import breaches, exposures

testinfra_hosts = ["ansible://watch12"]
SCENARIO = Path(__file__).resolve().parents[1]
ROOT = SCENARIO.parents[1]
TOLD = "/run/told.jsonl"


def api(host: Host, path: str) -> Any:
    command = f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:9090/api/v1/{path}').read().decode())"
    return json.loads(host.check_output(f"python3 -c {shlex.quote(command)}"))["data"]


def query(host: Host, expression: str) -> dict[str, float]:
    """Values by instance."""
    found = api(host, f"query?query={quote(expression)}")["result"]
    return {row["metric"].get("instance", ""): float(row["value"][1]) for row in found}


def until(condition: Any, seconds: float, what: str) -> float:
    """Seconds until it held."""
    start = time.monotonic()
    while not condition():
        assert time.monotonic() - start < seconds, what
        time.sleep(0.5)
    return time.monotonic() - start


def told(host: Host, name: str, status: str) -> bool:
    with host.sudo():
        lines = host.run(f"cat {TOLD}").stdout.splitlines()
    alerts = [alert for line in lines for alert in json.loads(line)["body"]["alerts"]]
    return any(alert["labels"]["alertname"] == name and alert["status"] == status for alert in alerts)


@pytest.fixture(scope="module", autouse=True)
def receiver(host: Host) -> None:
    program = (ROOT / "tests/lab/alerts/receiver.py").read_text()
    with host.sudo():
        host.check_output(f"printf %s {shlex.quote(program)} > /root/receiver.py")
        # One of a former run of these tests.
        host.run(f"systemctl stop receiver; rm -f {TOLD}")
        host.check_output(f"systemd-run --unit=receiver python3 /root/receiver.py 9999 {TOLD}")


def converge(host: Host, **variables: Any) -> subprocess.CompletedProcess[str]:
    inventory, playbook = os.environ["MOLECULE_INVENTORY_FILE"], str(SCENARIO / "converge.yml")
    words = ("ansible-playbook", "-i", inventory, playbook, "-e", json.dumps(variables))
    return subprocess.run(words, capture_output=True, text=True, timeout=240, check=False, cwd=ROOT)  # noqa: S603


def lab(verb: str, name: str) -> None:
    words = (sys.executable, "-m", "lab", verb, "mol-prometheus", name)
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)  # noqa: S603
    assert done.returncode == 0, done.stderr


def test_both_hosts_are_seen_the_other_one_by_mutual_tls(host: Host) -> None:
    assert query(host, 'up{job="node"}') == {"watch12": 1, "away13": 1}
    ways = {
        row["labels"]["instance"]: row["scrapeUrl"]
        for row in api(host, "targets")["activeTargets"]
        if row["labels"]["job"] == "node"
    }
    assert ways["away13"].startswith("https://")
    assert "/proxy?module=node" in ways["away13"]
    assert ways["watch12"] == "http://127.0.0.1:9100/metrics"


def test_all_rules_are_loaded_and_well(host: Host) -> None:
    def loaded() -> list[dict[str, Any]]:
        return [rule for group in api(host, "rules")["groups"] for rule in group["rules"]]

    # The month's rules are evaluated every two minutes.
    until(lambda: "unknown" not in {rule["health"] for rule in loaded()}, 130, "not all were evaluated")
    rules = loaded()
    assert {rule["health"] for rule in rules} == {"ok"}
    alerts = {rule["name"]: rule for rule in rules if rule["type"] == "alerting"}
    assert {"HostDown", "Watchdog", "BackupOld"} <= set(alerts)
    assert alerts["HostDown"]["annotations"]["runbook_url"] == "https://example.org/runbooks/HostDown.md"
    assert query(host, "anchorage:spend_limit_usd:daily") == {"": 12}


def test_a_host_that_is_cut_off_pages_within_a_minute_and_is_forgiven(host: Host) -> None:
    lab("cut", "away13")
    try:
        assert until(lambda: told(host, "HostDown", "firing"), 60, "nobody was told within a minute") > 20
    finally:
        lab("heal", "away13")
    until(lambda: told(host, "HostDown", "resolved"), 90, "nobody was told that it is over")


def test_a_host_that_shows_another_certificate_is_not_believed(host: Host) -> None:
    watched = host.get_host("ansible://away13", ansible_inventory=os.environ["MOLECULE_INVENTORY_FILE"])
    tls = "/etc/anchorage/tls"
    with watched.sudo():
        watched.check_output(f"cp -p {tls}/exporters.crt {tls}/exporters.key /root/")
        watched.check_output(
            f"openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=away13"
            f" -keyout {tls}/exporters.key -out {tls}/exporters.crt"
        )
        watched.check_output("systemctl restart prometheus-exporter-exporter")
        try:
            until(lambda: query(host, 'up{job="node"}')["away13"] == 0, 40, "it was believed")
        finally:
            watched.check_output(f"cp -p /root/exporters.crt /root/exporters.key {tls}/")
            watched.check_output("systemctl restart prometheus-exporter-exporter")
    until(lambda: query(host, 'up{job="node"}')["away13"] == 1, 40, "it is not seen again")


def test_metrics_survive_sigkill(host: Host) -> None:
    with host.sudo():
        host.check_output("systemctl kill -s KILL prometheus")
    asking = "python3 -c 'import urllib.request as u; u.urlopen(\"http://127.0.0.1:9090/-/ready\")'"
    until(lambda: host.run(asking).rc == 0, 30, "it did not come back")
    assert query(host, 'count_over_time(up{job="node",instance="watch12"}[10m])')["watch12"] > 5


def test_it_listens_on_loopback_only_and_within_its_bound(host: Host) -> None:
    listening = {line.split()[3] for line in host.check_output("ss -Hltn").splitlines()}
    assert {address for address in listening if address.endswith(":9090")} == {"127.0.0.1:9090"}
    assert breaches(exposures(host.check_output, {"prometheus.service"})) == []


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    (
        "unknown credential",
        {"prometheus_jobs": [{"name": "q", "groups": ["all"], "port": 1, "credential": "key"}]},
        "(key)",
    ),
    ("not an address", {"prometheus_public_urls": ["rag.example.org"]}, "the form https://name (rag.example.org)"),
    ("interval", {"prometheus_scrape_interval_sec": 0}, "prometheus_scrape_interval_sec 2 to 60 (0)"),
    (
        "what promtool refuses",
        {"prometheus_remote_write": [{"uri": "https://x"}]},
        "was not accepted, and nothing was changed",
    ),
]


@pytest.mark.parametrize(("variables", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_refused_with_its_cause_and_nothing_is_changed(host: Host, variables: dict[str, Any], message: str) -> None:
    sums = "sha256sum /etc/prometheus/prometheus.yml /etc/prometheus/rules/hosts.yml"
    before = host.check_output(sums)
    done = converge(host, **variables)
    assert done.returncode != 0
    assert message in " ".join((done.stdout + done.stderr).split())
    assert host.check_output(sums) == before
