"""What the role refuses, and what it says then."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from testinfra.host import Host  # type: ignore[import-untyped]

testinfra_hosts = ["ansible://told13"]
SCENARIO = Path(__file__).resolve().parents[1]

REFUSALS: list[tuple[str, dict[str, Any], str]] = [
    ("no password", {"exporters_redis_password": ""}, "exporters_redis_password needs 16 characters"),
    ("no key", {"exporters_probe_key": "x"}, "exporters_probe_key the form anc_<prefix>_<secret>"),
    ("name", {"exporters_modules": [{"name": "a b", "port": 1}]}, "names in exporters_modules only a-z and _"),
]


@pytest.mark.parametrize(("variables", "message"), [case[1:] for case in REFUSALS], ids=[case[0] for case in REFUSALS])
def test_refused_with_its_cause(host: Host, variables: dict[str, Any], message: str) -> None:
    inventory, playbook = os.environ["MOLECULE_INVENTORY_FILE"], str(SCENARIO / "converge.yml")
    words = ("ansible-playbook", "-i", inventory, playbook, "--limit", host.backend.host, "-e", json.dumps(variables))
    done = subprocess.run(words, capture_output=True, text=True, timeout=180, check=False, cwd=SCENARIO.parents[1])  # noqa: S603
    assert done.returncode != 0
    assert message in " ".join((done.stdout + done.stderr).split())
