"""The scenario's own playbook, once more, with other variables; on one host."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from testinfra.host import Host  # type: ignore[import-untyped]

SCENARIO = Path(__file__).resolve().parents[1]
PROJECT = SCENARIO.parents[1]
TLS = "/etc/anchorage/tls"


def converge(host: Host, **variables: Any) -> subprocess.CompletedProcess[str]:
    return play(SCENARIO / "converge.yml", "--limit", host.backend.host, "-e", json.dumps(variables))


def play(playbook: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A playbook on the scenario's hosts."""
    command = ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], str(playbook)]
    return subprocess.run(  # noqa: S603
        [*command, *options],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        # Ansible tells failures there.
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )


def serial(host: Host, name: str) -> str:
    with host.sudo():
        found = host.check_output(f"openssl x509 -noout -serial -in {TLS}/{name}.crt")
    assert isinstance(found, str)
    return found
