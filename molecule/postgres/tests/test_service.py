"""The unit: its sandbox, what it survives, and what of it is measured."""

from __future__ import annotations

import re

import pytest
from ask import by_password, by_user, lab, setting, wait_until_ready
from testinfra.host import Host  # type: ignore[import-untyped]

from tests.hardening import breaches, exposures


@pytest.fixture
def unit(host: Host) -> str:
    version = host.check_output("ls /etc/postgresql").strip()
    assert version == {"pg13": "17", "pg12": "15"}[host.backend.host]
    return f"postgresql@{version}-main.service"


@pytest.fixture
def rows(host: Host) -> int:
    """Rows that were acknowledged."""
    wait_until_ready(host)
    assert by_password(host, "CREATE TABLE IF NOT EXISTS kept (n int)").rc == 0
    assert by_password(host, "INSERT INTO kept SELECT generate_series(1, 1000)").rc == 0
    return count(host)


def count(host: Host) -> int:
    return int(by_password(host, "SELECT count(*) FROM kept").stdout)


def test_exposure(host: Host, unit: str) -> None:
    assert breaches(exposures(host.check_output, {unit})) == []


def test_the_log_is_archived_by_a_command_in_the_sandbox(host: Host, unit: str) -> None:
    """A shell, a program and a folder of its own: what every archiving tool needs."""
    archive = "/var/lib/postgresql/archive"
    orders = ["archive_mode = on", f"archive_command = 'test ! -f {archive}/%f && cp %p {archive}/%f'"]
    with host.sudo():
        host.check_output(f"install -d -o postgres -g postgres -m 0700 {archive}")
    for order in orders:
        assert by_user(host, "postgres", f"ALTER SYSTEM SET {order}", role="postgres").rc == 0
    with host.sudo():
        host.check_output(f"systemctl restart {unit}")
    wait_until_ready(host)
    segment = by_user(host, "postgres", "SELECT pg_walfile_name(pg_switch_wal())", role="postgres").stdout.strip()
    with host.sudo():
        host.check_output(f"timeout 20 sh -c 'until test -f {archive}/{segment}; do sleep 0.2; done'")
    failed = by_user(host, "postgres", "SELECT failed_count FROM pg_stat_archiver", role="postgres")
    assert failed.stdout.strip() == "0"
    assert by_user(host, "postgres", "ALTER SYSTEM RESET ALL", role="postgres").rc == 0
    with host.sudo():
        host.check_output(f"systemctl restart {unit}")
    wait_until_ready(host)


def test_sandbox_bites(host: Host, unit: str) -> None:
    with host.sudo():
        pid = host.check_output(f"systemctl show -P MainPID {unit}")
        inside = f"nsenter -t {pid} -m --"
        assert host.run(f"{inside} touch /etc/postgresql/x").rc != 0
        assert host.run(f"{inside} touch /var/lib/postgresql/x").rc == 0
        assert "CapEff:\t0000000000000000" in host.check_output(f"cat /proc/{pid}/status")


def test_the_owner_may_use_pgvector_where_it_was_asked_for(host: Host) -> None:
    wait_until_ready(host)
    nearest = by_password(host, "SELECT '[1,2]'::vector <-> '[1,3]'::vector")
    if host.backend.host == "pg13":
        assert nearest.stdout.strip() == "1"
    else:
        assert 'type "vector" does not exist' in nearest.stderr


def test_data_survives_a_restart(host: Host, unit: str, rows: int) -> None:
    with host.sudo():
        host.check_output(f"systemctl restart {unit}")
    wait_until_ready(host)
    assert count(host) == rows


def test_data_survives_sigkill_and_the_server_comes_back(host: Host, unit: str, rows: int) -> None:
    with host.sudo():
        before = host.check_output(f"systemctl show -P MainPID {unit}")
        host.check_output(f"systemctl kill -s KILL {unit}")
        another = f"systemctl show -P MainPID {unit} | grep -qvx -e 0 -e {before}"
        host.check_output(f"timeout 30 sh -c 'until {another}; do sleep 0.1; done'")
    wait_until_ready(host)
    assert count(host) == rows


def test_data_survives_a_power_cut(host: Host, rows: int) -> None:
    lab("kill", host)
    lab("start", host)
    wait_until_ready(host)
    assert count(host) == rows


def test_large_query_with_parallel_workers_runs_in_the_sandbox(host: Host) -> None:
    query = (
        "SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0;"
        "CREATE TEMP TABLE t AS SELECT g AS n, md5(g::text) AS x FROM generate_series(1, 300000) g;"
        "CREATE INDEX ON t (x); ANALYZE t; SELECT sum(n) FROM t WHERE x > '0'"
    )
    done = by_password(host, query)
    assert done.stdout.strip() == "45000150000", done.stderr


def test_statements_are_measured(host: Host) -> None:
    assert by_password(host, "SELECT count(*) FROM pg_class WHERE relname = 'kept'").rc == 0
    measured = "SELECT sum(calls) FROM pg_stat_statements WHERE query LIKE '%FROM pg_class WHERE relname = $1'"
    assert int(by_password(host, measured).stdout) >= 1


def test_cluster_is_utf8_with_checksums_and_sized(host: Host) -> None:
    wanted = {
        "server_encoding": "UTF8",
        "data_checksums": "on",
        "shared_buffers": "288MB",
        "jit": "off",
        "timezone": "UTC",
    }
    assert {name: setting(host, name) for name in wanted} == wanted
    collation = by_user(
        host, "postgres", "SELECT datcollate FROM pg_database WHERE datname = 'anchorage'", role="postgres"
    )
    assert collation.stdout.strip() == "C.UTF-8"


def test_slow_statements_are_in_the_journal(host: Host) -> None:
    by_password(host, "SELECT pg_sleep(0.6) AS slow_marker")
    with host.sudo():
        log = host.check_output("journalctl -t postgres -o cat -n 50")
    assert re.search(r"duration: \d+\.\d+ ms .*slow_marker", log)
