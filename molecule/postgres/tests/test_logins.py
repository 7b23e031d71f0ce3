"""Who can log in, and as whom."""

from __future__ import annotations

import socket

import pytest
from ask import by_password, by_user
from testinfra.host import Host  # type: ignore[import-untyped]

WHO = "SELECT current_user || ' ' || current_database()"


def test_owner_by_password(host: Host) -> None:
    assert by_password(host, WHO).stdout.strip() == "anchorage anchorage"
    stored = by_user(host, "postgres", "SELECT rolpassword FROM pg_authid WHERE rolname = 'anchorage'", role="postgres")
    assert stored.stdout.startswith("SCRAM-SHA-256$")


@pytest.mark.parametrize("password", ["", "wrong", "molecule-owner-passwor"])
def test_wrong_password_is_refused(host: Host, password: str) -> None:
    done = by_password(host, WHO, password)
    assert done.rc != 0
    assert "password authentication failed" in done.stderr or "no password supplied" in done.stderr


def test_service_user_on_the_socket_needs_no_password(host: Host) -> None:
    assert by_user(host, "anchorage", WHO).stdout.strip() == "anchorage anchorage"


def test_nobody_else_on_the_socket(host: Host) -> None:
    assert "Peer authentication failed" in by_user(host, "somebody", WHO).stderr
    assert "Peer authentication failed" in by_user(host, "anchorage", WHO, role="postgres").stderr
    assert "no pg_hba.conf entry" in by_user(host, "anchorage", WHO, database="postgres").stderr


def test_superuser_can_not_come_over_the_network(host: Host) -> None:
    assert "no pg_hba.conf entry" in by_password(host, WHO, user="postgres").stderr


def test_it_listens_on_loopback_only(host: Host) -> None:
    listening = {found.split()[3] for found in host.check_output("ss -Hltn sport = :5432").splitlines()}
    assert "127.0.0.1:5432" in listening
    assert listening <= {"127.0.0.1:5432", "[::1]:5432"}
    with pytest.raises(OSError, match="refused"):
        socket.create_connection((host.ansible.get_variables()["ansible_host"], 5432), timeout=5)


def test_owner_owns_and_is_no_more_than_that(host: Host) -> None:
    assert by_password(host, "CREATE TABLE IF NOT EXISTS mine (n int); DROP TABLE mine").rc == 0
    assert "permission denied" in by_password(host, "CREATE ROLE another").stderr
    assert "permission denied" in by_password(host, "CREATE DATABASE another").stderr
    assert "must be superuser" in by_password(host, "ALTER SYSTEM SET work_mem = '1GB'").stderr.replace(
        "permission denied to set parameter", "must be superuser"
    )
    public = "SELECT has_database_privilege('pg_monitor', 'anchorage', 'CONNECT')"
    assert by_password(host, public).stdout.strip() == "f"


def test_password_is_in_no_file_and_no_log(host: Host) -> None:
    # In brackets, so that sudo's own log of this command does not match.
    pattern = "molecule-owner-passwor[d]"
    with host.sudo():
        # At its end the server writes down the statements that it measured.
        host.check_output("systemctl restart 'postgresql@*'")
        files = host.run(f"grep -rls '{pattern}' /etc /var/lib/postgresql /var/log/postgresql")
        log = host.run(f"journalctl --no-pager | grep -v ' sudo\\[' | grep '{pattern}'")
    assert (files.stdout, log.stdout) == ("", "")
