"""Who is told what, how fast, and when not; alerts are handed over as Prometheus does, receivers are real servers."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

from tests.hardening import breaches, exposures

SCENARIO = Path(__file__).resolve().parents[1]
ROOT = SCENARIO.parents[1]
UNIT = "prometheus-alertmanager.service"
TOLD = "/run/told.jsonl"
AT = "--alertmanager.url=http://127.0.0.1:9093"


@pytest.fixture(autouse=True)
def receiver(host: Host) -> None:
    """A server for all webhooks of the host; it forgets what earlier tests were told."""
    program = (ROOT / "tests/lab/alerts/receiver.py").read_text()
    with host.sudo():
        if host.run("systemctl is-active receiver").rc != 0:
            host.check_output(f"printf %s {shlex.quote(program)} > /root/receiver.py")
            host.check_output(f"systemd-run --unit=receiver python3 /root/receiver.py 9999 {TOLD}")
            host.check_output("timeout 10 sh -c 'until ss -Hltn sport = :9999 | grep -q .; do sleep 0.1; done'")
        host.check_output(f"rm -f {TOLD}")


def fire(host: Host, name: str, **labels: str) -> None:
    words = " ".join(shlex.quote(f"{key}={value}") for key, value in labels.items())
    host.check_output(f"amtool alert add {AT} alertname={name} {words} --annotation=summary=test")


def requests(host: Host) -> list[dict[str, Any]]:
    with host.sudo():
        lines = host.run(f"cat {TOLD}").stdout.splitlines()
    return [json.loads(line) for line in lines]


def told(host: Host, path: str = "/people") -> list[dict[str, Any]]:
    """Alerts that fire, as they arrived there; each with the request's token."""
    arrived = [(request["token"], request["body"]) for request in requests(host) if request["path"] == path]
    return [
        {"token": token, **alert} for token, body in arrived for alert in body["alerts"] if alert["status"] == "firing"
    ]


def names(host: Host, path: str = "/people") -> set[str]:
    return {alert["labels"]["alertname"] for alert in told(host, path)}


def wait_for(host: Host, name: str, seconds: float = 20, path: str = "/people") -> dict[str, Any]:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for one in told(host, path):
            if one["labels"]["alertname"] == name:
                return one
        time.sleep(0.3)
    raise AssertionError(f"{name} did not arrive at {path}: {requests(host)}")


def converge(host: Host, **variables: Any) -> subprocess.CompletedProcess[str]:
    inventory, playbook = os.environ["MOLECULE_INVENTORY_FILE"], str(SCENARIO / "converge.yml")
    words = ("ansible-playbook", "-i", inventory, playbook, "--limit", host.backend.host, "-e", json.dumps(variables))
    return subprocess.run(words, capture_output=True, text=True, timeout=180, check=False, cwd=ROOT)  # noqa: S603


def test_a_page_arrives_within_ten_seconds_with_the_token(host: Host) -> None:
    fire(host, "SomethingBroke", severity="page", instance="a")
    arrived = wait_for(host, "SomethingBroke", seconds=10)
    assert arrived["token"] == "Bearer molecule-webhook-token"  # noqa: S105
    assert arrived["annotations"]["summary"] == "test"
    slack = [json.dumps(request["body"]) for request in requests(host) if request["path"] == "/slack"]
    assert any("PAGE SomethingBroke (firing)" in said for said in slack)


def test_what_is_only_information_wakes_nobody_but_the_switch_hears_the_watchdog(host: Host) -> None:
    fire(host, "Watchdog", severity="info")
    fire(host, "JustSo", severity="info")
    wait_for(host, "Watchdog", path="/switch")
    time.sleep(8)
    assert names(host).isdisjoint({"Watchdog", "JustSo"})
    assert names(host, "/switch") == {"Watchdog"}


def test_of_a_host_that_is_away_nothing_else_is_said(host: Host) -> None:
    fire(host, "HostDown", severity="page", instance="away", layer="cause")
    fire(host, "RedisDown", severity="page", instance="away")
    fire(host, "WorkerDown", severity="page", instance="other")
    wait_for(host, "HostDown")
    wait_for(host, "WorkerDown")
    assert "RedisDown" not in names(host)


def test_what_is_broken_explains_what_people_notice(host: Host) -> None:
    fire(host, "PostgresDown", severity="page", instance="b", layer="cause")
    fire(host, "QuestionUnanswered", severity="page", instance="c", layer="symptom")
    wait_for(host, "PostgresDown")
    time.sleep(6)
    assert "QuestionUnanswered" not in names(host)


def test_a_silence_is_kept_until_it_is_ended(host: Host) -> None:
    add = f"amtool silence add {AT} --author=test --comment=test --duration=1h instance=silent"
    silence = host.check_output(add).strip()
    fire(host, "QuietOne", severity="page", instance="silent")
    time.sleep(8)
    assert "QuietOne" not in names(host)
    host.check_output(f"amtool silence expire {AT} {silence}")
    wait_for(host, "QuietOne", seconds=30)


def test_a_restart_forgets_no_silence(host: Host) -> None:
    silence = host.check_output(f"amtool silence add {AT} --author=test --comment=test --duration=1h a=b").strip()
    with host.sudo():
        host.check_output(f"systemctl restart {UNIT}")
    host.check_output("timeout 10 sh -c 'until ss -Hltn sport = :9093 | grep -q .; do sleep 0.1; done'")
    assert silence in host.check_output(f"amtool silence query {AT} --quiet")


def test_secrets_are_root_s_alone(host: Host) -> None:
    with host.sudo():
        readable = host.run(
            "runuser -u daemon -- grep -rls -e 'molecule-webhook-toke[n]' -e 'molecule-pagerduty-ke[y]' /etc"
        )
        assert readable.stdout == ""
        assert host.file("/etc/prometheus/alertmanager.yml").mode == 0o640
        journal = host.run("journalctl --no-pager | grep -v ' sudo' | grep 'molecule-webhook-toke[n]'")
    assert journal.stdout == ""


def test_it_listens_on_loopback_only_and_within_its_bound(host: Host) -> None:
    listening = {line.split()[3] for line in host.check_output("ss -Hltn").splitlines()}
    assert "127.0.0.1:9093" in listening
    assert not {address for address in listening if address.endswith((":9093", ":9094")) and "127.0.0.1" not in address}
    assert breaches(exposures(host.check_output, {UNIT})) == []


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("no address", {"alertmanager_webhook_urls": ["example.org"]}, "need the form https://host/path"),
    ("mail without a server", {"alertmanager_smtp_smarthost": ""}, "needs alertmanager_smtp_smarthost"),
    ("what amtool refuses", {"alertmanager_repeat_page": "soon"}, "was not accepted, and nothing was changed"),
]


@pytest.mark.parametrize(("variables", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_refused_with_its_cause_and_nothing_is_changed(host: Host, variables: dict[str, Any], message: str) -> None:
    with host.sudo():
        before = host.check_output("sha256sum /etc/prometheus/alertmanager.yml")
        done = converge(host, **variables)
        assert done.returncode != 0
        assert message in " ".join((done.stdout + done.stderr).split())
        assert host.check_output("sha256sum /etc/prometheus/alertmanager.yml") == before
    assert host.check_output(f"systemctl is-active {UNIT}") == "active"
