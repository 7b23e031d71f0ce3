"""Ways to ask the database, and to run the scenario's playbook once more."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from testinfra.backend.base import CommandResult  # type: ignore[import-untyped]
from testinfra.host import Host  # type: ignore[import-untyped]

SCENARIO = Path(__file__).resolve().parents[1]
PASSWORD = "molecule-owner-password"  # noqa: S105


def by_password(host: Host, query: str, password: str = PASSWORD, user: str = "anchorage") -> CommandResult:
    """Over TCP. In the environment, since nothing but this test's own host sees it."""
    connection = f"host=127.0.0.1 dbname=anchorage user={user}"
    return host.run(
        f"PGPASSWORD={shlex.quote(password)} psql -XAtq -w {shlex.quote(connection)} -c {shlex.quote(query)}"
    )


def by_user(
    host: Host, user: str, query: str, *, role: str = "anchorage", database: str = "anchorage"
) -> CommandResult:
    """Over the Unix socket, as a user of the operating system."""
    with host.sudo():
        return host.run(f"runuser -u {user} -- psql -XAtq -w -U {role} -d {database} -c {shlex.quote(query)}")


def setting(host: Host, name: str) -> str:
    found = by_user(host, "postgres", f"SHOW {name}", role="postgres", database="postgres").stdout.strip()
    assert isinstance(found, str)
    return found


def server_started(host: Host) -> str:
    query = "SELECT pg_postmaster_start_time()"
    found = by_user(host, "postgres", query, role="postgres", database="postgres").stdout
    assert isinstance(found, str)
    return found


def wait_until_ready(host: Host) -> None:
    deadline = time.monotonic() + 30
    while by_password(host, "SELECT 1").rc != 0:
        assert time.monotonic() < deadline, host.run("systemctl status 'postgresql@*'").stdout
        time.sleep(0.3)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=180, check=False, cwd=SCENARIO.parents[1]
    )


def lab(verb: str, host: Host) -> None:
    done = run(sys.executable, "-m", "lab", verb, "mol-postgres", host.backend.host)
    assert done.returncode == 0, done.stderr


def converge(host: Host, **variables: Any) -> subprocess.CompletedProcess[str]:
    inventory, playbook = os.environ["MOLECULE_INVENTORY_FILE"], str(SCENARIO / "converge.yml")
    return run(
        *("ansible-playbook", "-i", inventory, playbook, "--limit", host.backend.host, "-e", json.dumps(variables))
    )
