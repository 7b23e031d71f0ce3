"""Ways to ask the stand-in, and to run the scenario's playbook once more."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from testinfra.host import Host  # type: ignore[import-untyped]

SCENARIO = Path(__file__).resolve().parents[1]
PASSWORD = "molecule-password-of-admin"  # noqa: S105


def ask(host: Host, path: str, *, password: str = PASSWORD) -> Any:
    """What it answers to admin, or to nobody where the password is empty."""
    user = f"--user admin:{password} " if password else ""
    return json.loads(host.check_output(f"curl -s {user}http://127.0.0.1:3000{path}"))


def status(host: Host, path: str, *, password: str = PASSWORD) -> str:
    user = f"--user admin:{password} " if password else ""
    said = host.check_output(f"curl -s -o /dev/null -w '%{{http_code}}' {user}http://127.0.0.1:3000{path}")
    assert isinstance(said, str)
    return said


def converge(host: Host, **variables: Any) -> subprocess.CompletedProcess[str]:
    inventory, playbook = os.environ["MOLECULE_INVENTORY_FILE"], str(SCENARIO / "converge.yml")
    return subprocess.run(  # noqa: S603
        ("ansible-playbook", "-i", inventory, playbook, "--limit", host.backend.host, "-e", json.dumps(variables)),  # noqa: S607
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        cwd=SCENARIO.parents[1],
    )


def words(done: subprocess.CompletedProcess[str]) -> str:
    """All that it said, on one line."""
    return " ".join((done.stdout + done.stderr).split())
