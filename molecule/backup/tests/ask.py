"""Ways to ask the database, to run the units and the playbooks, and to read what they tell."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

from testinfra.backend.base import CommandResult  # type: ignore[import-untyped]
from testinfra.host import Host  # type: ignore[import-untyped]

PROJECT = Path(__file__).resolve().parents[3]
REPOSITORY = "/var/lib/anchorage-backup"
METRICS = "/var/lib/prometheus/node-exporter"


def root(host: Host, command: str) -> str:
    """What root's shell says."""
    with host.sudo():
        return str(host.check_output(f"sh -ec {shlex.quote(command)}")).strip()


def sql(host: Host, query: str) -> str:
    """As the superuser, in the service's database."""
    return root(host, f"runuser -u postgres -- psql -XAtq -v ON_ERROR_STOP=1 -d anchorage -c {shlex.quote(query)}")


def qdrant(host: Host, method: str, path: str, body: Any = None) -> Any:
    """What Qdrant says."""
    words = ["curl", "-sS", "-X", method, "-H", "api-key: molecule-full-access-key", f"http://127.0.0.1:6333{path}"]
    if body is not None:
        words += ["-H", "content-type: application/json", "-d", json.dumps(body)]
    return json.loads(host.check_output(shlex.join(words)))["result"]


def start(host: Host, unit: str) -> tuple[CommandResult, str]:
    """Run a unit to its end; what came of it, and what it said."""
    with host.sudo():
        done = host.run(f"systemctl start {unit}")
        invocation = host.check_output(f"systemctl show --property=InvocationID --value {unit}").strip()
        said = host.check_output(f"journalctl --sync; journalctl -o cat --no-pager _SYSTEMD_INVOCATION_ID={invocation}")
    return done, said


def metric(host: Host, series: str) -> float:
    """Of the files for the node exporter, read as its user would."""
    text = host.check_output(f"cat {METRICS}/anchorage_*.prom")
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    assert found, f"no {series} in {text}"
    return float(found[1])


def manifests(host: Host) -> list[dict[str, Any]]:
    """Of all sets, the newest last."""
    paths = root(host, f"ls {REPOSITORY}/sets/*/manifest.json").split()
    return [{"path": path.rpartition("/")[0], **json.loads(root(host, f"cat {path}"))} for path in sorted(paths)]


def play(host: Host, playbook: str, **variables: Any) -> tuple[int, str]:
    """A playbook of the project, on this host; its status, and what it said on one line."""
    words = ["ansible-playbook", "-i", os.environ["MOLECULE_INVENTORY_FILE"], f"playbooks/{playbook}.yml"]
    words += ["--limit", host.backend.host, "-e", json.dumps(variables)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, cwd=PROJECT)  # noqa: S603
    return done.returncode, " ".join((done.stdout + done.stderr).split())
