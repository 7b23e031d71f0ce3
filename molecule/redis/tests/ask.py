"""Ways to ask Redis, and to run the scenario's playbook once more."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from testinfra.host import Host  # type: ignore[import-untyped]

SCENARIO = Path(__file__).resolve().parents[1]
PASSWORD = "molecule-redis-password"  # noqa: S105
SOCKET = "-s /run/redis/redis.sock"
TCP = "-h 127.0.0.1"


def ask(host: Host, question: str, *, password: str = PASSWORD, way: str = TCP, user: str = "nobody") -> str:
    """What redis-cli says, errors too."""
    command = f"REDISCLI_AUTH={shlex.quote(password)} redis-cli --no-auth-warning {way} {question} 2>&1"
    with host.sudo():
        answer = host.run(f"runuser -u {user} -- sh -c {shlex.quote(command)}").stdout.strip()
    assert isinstance(answer, str)
    return answer


def fields(host: Host, section: str) -> dict[str, str]:
    """A section of INFO."""
    lines = ask(host, f"INFO {section}").splitlines()
    return dict(line.strip().split(":", 1) for line in lines if ":" in line)


def wait_until_ready(host: Host) -> None:
    deadline = time.monotonic() + 20
    while ask(host, "PING") != "PONG":
        assert time.monotonic() < deadline, host.run("systemctl status redis-server").stdout
        time.sleep(0.2)


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, timeout=180, check=False, cwd=SCENARIO.parents[1]
    )


def lab(verb: str, host: Host) -> None:
    done = run(sys.executable, "-m", "lab", verb, "mol-redis", host.backend.host)
    assert done.returncode == 0, done.stderr


def converge(host: Host, **variables: Any) -> subprocess.CompletedProcess[str]:
    inventory, playbook = os.environ["MOLECULE_INVENTORY_FILE"], str(SCENARIO / "converge.yml")
    return run(
        *("ansible-playbook", "-i", inventory, playbook, "--limit", host.backend.host, "-e", json.dumps(variables))
    )
