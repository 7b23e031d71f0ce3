"""What a changed variable does: no more than it must, and nothing when it is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from ask import PASSWORD, by_password, converge, server_started, setting
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://pg13"]


def test_a_setting_that_needs_no_restart_causes_none(host: Host) -> None:
    before = server_started(host)
    done = converge(host, postgres_settings={"work_mem": "9MB"})
    assert done.returncode == 0, done.stdout
    assert setting(host, "work_mem") == "9MB"
    assert server_started(host) == before


def test_a_setting_that_needs_a_restart_gets_it(host: Host) -> None:
    before = server_started(host)
    done = converge(host, postgres_max_connections=120)
    assert done.returncode == 0, done.stdout
    assert setting(host, "max_connections") == "120"
    assert server_started(host) != before


def test_the_password_can_be_changed(host: Host) -> None:
    done = converge(host, postgres_password="another-owner-password")  # noqa: S106
    assert done.returncode == 0, done.stdout
    assert by_password(host, "SELECT 1", "another-owner-password").rc == 0
    assert by_password(host, "SELECT 1", PASSWORD).rc != 0
    assert converge(host).returncode == 0
    assert by_password(host, "SELECT 1", PASSWORD).rc == 0


REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("no such setting", {"postgres_settings": {"no_such_setting": "1"}}, "no_such_setting"),
    ("impossible value", {"postgres_settings": {"shared_buffers": "lots"}}, "shared_buffers"),
    ("boolean", {"postgres_settings": {"jit": False}}, "Put booleans in quotes"),
    ("not a network", {"postgres_client_networks": ["anywhere"]}, "postgres_client_networks has 'anywhere'"),
    ("impossible network", {"postgres_client_networks": ["10.0.0.0/99"]}, "the old ones are back"),
    ("another version", {"postgres_version": 16}, "This host holds a Postgres 17 cluster, and postgres_version is 16"),
    ("short password", {"postgres_password": "short"}, "postgres_password has 5 characters"),
    ("name to be quoted", {"postgres_database": 'a"b'}, "postgres_database is 'a\"b'"),
    ("wrong type", {"postgres_port": "default"}, "postgres_port"),
]


@pytest.mark.parametrize(("variables", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_refused_with_its_cause_and_nothing_is_changed(host: Host, variables: dict[str, Any], message: str) -> None:
    files = "sha256sum /etc/postgresql/17/main/pg_hba.conf /etc/postgresql/17/main/conf.d/anchorage.conf"
    with host.sudo():
        before = host.check_output(files)
    started = server_started(host)
    done = converge(host, **variables)
    output = " ".join((done.stdout + done.stderr).split())
    assert done.returncode != 0
    assert message in output
    assert PASSWORD not in output
    with host.sudo():
        assert host.check_output(files) == before
        assert host.check_output("ls /etc/postgresql") == "17"
    assert server_started(host) == started
