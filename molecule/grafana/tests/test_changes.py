"""What a changed variable does, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from ask import PASSWORD, ask, converge, status, words
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://grafana12"]


def started(host: Host) -> str:
    said = host.check_output("systemctl show -P ActiveEnterTimestampMonotonic grafana-server")
    assert isinstance(said, str)
    return said


def test_the_password_can_be_changed_and_nobody_reads_it(host: Host) -> None:
    done = converge(host, grafana_admin_password="another-password-of-admin")  # noqa: S106
    assert done.returncode == 0, words(done)
    assert "another-password-of-admin" not in done.stdout + done.stderr
    assert status(host, "/api/user", password="another-password-of-admin") == "200"  # noqa: S106
    assert status(host, "/api/user") == "401"
    back = converge(host)
    assert back.returncode == 0, words(back)
    assert status(host, "/api/user") == "200"


def test_a_dashboard_of_a_former_release_goes_and_a_changed_one_comes_without_a_restart(host: Host) -> None:
    hosts, old = "/etc/grafana/anchorage/hosts.json", "/etc/grafana/anchorage/old.json"
    with host.sudo():
        host.check_output(f'sed \'s/anchorage-hosts/old/; s/"Hosts"/"Old"/\' {hosts} > {old}')
        host.check_output(f"sed -i 's/Processors busy/Busy/' {hosts}")
    assert "old" in {found["uid"] for found in ask(host, "/api/search")}
    before = started(host)
    done = converge(host)
    assert done.returncode == 0, words(done)
    assert "old" not in {found["uid"] for found in ask(host, "/api/search")}
    assert "Processors busy" in str(ask(host, "/api/dashboards/uid/anchorage-hosts"))
    assert started(host) == before


def test_traces_of_a_source_that_grafana_can_ask(host: Host) -> None:
    done = converge(host, grafana_trace_page="", grafana_traces={"type": "tempo", "url": "http://127.0.0.1:9090"})
    assert done.returncode == 0, words(done)
    assert ask(host, "/api/datasources/uid/traces")["type"] == "tempo"
    (destination,) = ask(host, "/api/datasources/uid/prometheus")["jsonData"]["exemplarTraceIdDestinations"]
    assert destination == {"name": "trace_id", "datasourceUid": "traces"}
    assert converge(host).returncode == 0


def test_nginx_shows_it_under_a_name_of_its_own(host: Host) -> None:
    pair = "-keyout /etc/nginx/edge.key -out /etc/nginx/edge.crt"
    settings = "ssl_certificate /etc/nginx/edge.crt;\\nssl_certificate_key /etc/nginx/edge.key;\\n"
    with host.sudo():
        host.check_output(f"openssl req -x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=edge {pair}")
        host.check_output(f"printf '{settings}' > /etc/nginx/sites-enabled/edge")
    done = converge(host, grafana_server_name="grafana.example.org")
    assert done.returncode == 0, words(done)
    asked = "curl -sk --resolve grafana.example.org:443:{} --user admin:{} https://grafana.example.org/api/user"
    assert '"login": "admin"' in host.check_output(asked.format("127.0.0.1", PASSWORD))
    address = host.ansible.get_variables()["ansible_host"]
    assert "403 Forbidden" in host.check_output(asked.format(address, PASSWORD))
    assert converge(host).returncode == 0
    assert "login" not in host.run(asked.format("127.0.0.1", PASSWORD)).stdout


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("no password", {"grafana_admin_password": ""}, "grafana_admin_password is empty or not usable"),
    ("short key", {"grafana_secret_key": "short"}, "grafana_secret_key is empty or not usable"),
    ("no digest", {"grafana_local_file_sha256": ""}, "grafana_local_file_sha256 ('') is no SHA-256"),
    ("another file", {"grafana_local_file_sha256": "0" * 64}, "not grafana_local_file_sha256"),
    (
        "unknown section",
        {"grafana_settings": {"analytic": {"enabled": "false"}}},
        "analytic, which Grafana does not know",
    ),
    ("trace page", {"grafana_trace_page": "http://127.0.0.1/"}, "must have TRACE_ID"),
]


@pytest.mark.parametrize(("variables", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_refused_with_its_cause_and_nothing_is_changed(host: Host, variables: dict[str, Any], message: str) -> None:
    before = started(host)
    done = converge(host, **variables)
    assert done.returncode != 0
    assert message in words(done)
    assert PASSWORD not in words(done)
    assert started(host) == before


def test_a_setting_that_grafana_does_not_have_is_noticed(host: Host) -> None:
    """By the stand-in, which is stricter than Grafana: so a wrong name in the role's own settings fails here."""
    done = converge(host, grafana_settings={"users": {"allow_signup": "false"}})
    assert done.returncode != 0
    with host.sudo():
        assert "[users] allow_signup is no setting" in host.check_output(
            "journalctl -u grafana-server --no-pager -n 20"
        )
    assert converge(host).returncode == 0
